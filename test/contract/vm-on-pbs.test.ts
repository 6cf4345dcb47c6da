import { describeContract } from './contract.ts';
import { simulatedTarget } from './targets.ts';

describeContract(simulatedTarget('a VM on PBS', { kind: 'qemu', storage: 'pbs' }));

import { describeContract } from './contract.ts';
import { simulatedTarget } from './targets.ts';

describeContract(simulatedTarget('a VM on files', { kind: 'qemu' }));

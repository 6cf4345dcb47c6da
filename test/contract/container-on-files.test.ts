import { describeContract } from './contract.ts';
import { simulatedTarget } from './targets.ts';

describeContract(simulatedTarget('a container on files', { kind: 'lxc' }));

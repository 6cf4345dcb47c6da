import { describeContract } from './contract.ts';
import { simulatedTarget } from './targets.ts';

describeContract(simulatedTarget('a container without snapshots', { kind: 'lxc', snapshots: false }));

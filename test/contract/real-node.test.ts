import { expect, it } from 'vitest';
import { describeContract } from './contract.ts';
import { realTarget } from './targets.ts';

/**
 * Against any real node: FELHOM_PVE_URL, _TOKEN, _FINGERPRINT, _NODE, _STORAGE and _TEST_VMID. The guest is
 * stopped and started, and backed up about ten times; what that leaves on the storage is deleted at the end. Its
 * managed options are changed, and put back at the end.
 */
const target = realTarget();
if ('missing' in target) {
  console.info(`the contract suite leaves the run against a real node out: ${target.missing.join(', ')} not set`);
} else {
  describeContract(target);
}

it('a real node is asked when all of its variables are set, and none of them is half-way', () => {
  expect('missing' in target ? [0, 6] : [0]).toContain('missing' in target ? target.missing.length : 0);
});

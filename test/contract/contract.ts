import { describe } from 'vitest';
import { describeFields } from './suite/fields.ts';
import { describeGuests } from './suite/guests.ts';
import { describeIrreversible } from './suite/irreversible.ts';
import { describeStorage } from './suite/storage.ts';
import { describeTasks } from './suite/tasks.ts';
import { describeVzdump } from './suite/vzdump.ts';
import { describeWire } from './suite/wire.ts';
import type { ContractTarget } from './targets.ts';

/**
 * The contract suite: what a Proxmox VE node is held to, and the client against it. The same lines run
 * against simulated nodes and against a real one, part after part, because they share one guest.
 */
export function describeContract(target: ContractTarget): void {
  describe(`against ${target.name}`, () => {
    describeWire(target);
    describeGuests(target);
    describeFields(target);
    describeTasks(target);
    describeStorage(target);
    describeIrreversible(target);
    describeVzdump(target);
  });
}

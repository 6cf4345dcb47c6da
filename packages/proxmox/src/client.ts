import { Failure } from '@felhom/kernel/failure.ts';
import { type PveGuests, pveGuests } from './guests.ts';
import { createPveHttp, type PveHttpOptions } from './http.ts';
import { type PveIrreversible, pveIrreversible } from './irreversible.ts';
import { type PveNodes, pveNodes } from './nodes.ts';
import { type PveStorage, pveStorage } from './storage.ts';
import { type PveTasks, pveTasks } from './tasks.ts';
import { type PveVzdump, pveVzdump } from './vzdump.ts';

export interface PveClientOptions extends PveHttpOptions {
  /** The node's name, as in the interface. */
  node: string;
}

/**
 * A node's API. Every part is an interface, so that a simulation can stand in for it. Every call
 * throws PveError (a Failure) with a `fault`; only `vzdump.start` tells its outcome by its answer.
 */
export interface PveClient {
  readonly node: string;
  /** Whose tasks are ours: `USER@REALM!TOKEN`, as it stands in a UPID. */
  readonly user: string;
  readonly guests: PveGuests;
  readonly tasks: PveTasks;
  readonly vzdump: PveVzdump;
  readonly storage: PveStorage;
  readonly nodes: PveNodes;
  readonly irreversible: PveIrreversible;
  /** Ends every connection; calls under way fail. */
  close(): Promise<void>;
}

/** Connects nothing yet. Throws `config_invalid` for options that cannot be right. */
export function createPveClient(options: PveClientOptions): PveClient {
  const { node } = options;
  if (!/^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?$/.test(node)) {
    throw new Failure('config_invalid', {
      message: `${JSON.stringify(node)} is not a node name; nothing was sent`,
      hint: 'Set pve.node to the name that "hostname" prints on the node.',
    });
  }
  const http = createPveHttp(options);
  return {
    node,
    user: options.token.trim().split('=')[0] ?? '',
    guests: pveGuests(http, node),
    tasks: pveTasks(http, node),
    vzdump: pveVzdump(http, node),
    storage: pveStorage(http, node),
    nodes: pveNodes(http, node),
    irreversible: pveIrreversible(http, node),
    close: () => http.close(),
  };
}

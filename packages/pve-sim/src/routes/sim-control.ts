import { z } from 'zod';
import { faultOrder } from '../faults.ts';
import type { SimNode } from '../node.ts';
import { signal } from '../state/processes.ts';
import { nodeLockHolder } from '../vzdump/node-lock.ts';

const guestChange = z.strictObject({
  /** null: what `pct unlock` does. */
  lock: z.string().nullable().optional(),
  running: z.boolean().optional(),
});

/** What befalls the cluster's filesystem: a list that does not move, a restart in which versions begin anew. */
const clusterChange = z.strictObject({ frozen: z.boolean().optional(), restart: z.literal(true).optional() });

export interface ControlAnswer {
  status: number;
  body: unknown;
}

/** The simulator's own door, beside the API: faults to order, state to look at, what only a root shell can do to a guest. */
export function control(node: SimNode, method: string, path: string, body: string): ControlAnswer | null {
  const guest = /^\/sim\/guests\/(\d+)$/.exec(path)?.[1];
  if (path === '/sim/state' && method === 'GET') return { status: 200, body: stateOf(node) };
  if (path === '/sim/faults' && method === 'GET') return { status: 200, body: node.faults.list() };
  if (path === '/sim/faults' && method === 'POST') return orderFault(node, body);
  if (path === '/sim/faults' && method === 'DELETE') {
    node.faults.clear();
    return { status: 200, body: { cleared: true } };
  }
  if (path === '/sim/cluster' && method === 'POST') return changeCluster(node, body);
  return guest !== undefined && method === 'POST' ? changeGuest(node, Number(guest), body) : null;
}

function orderFault(node: SimNode, body: string): ControlAnswer {
  const order = faultOrder.safeParse(parse(body));
  if (!order.success) return { status: 400, body: { error: z.prettifyError(order.error) } };
  if (order.data.fault === 'kill_worker' && order.data.at === undefined)
    return { status: 200, body: { killed: killWorkers(node, order.data.vmid) } };
  return { status: 200, body: { id: node.faults.order(order.data) } };
}

/** kill -9 of every vzdump worker that runs now. */
export function killWorkers(node: SimNode, vmid: number | undefined): number[] {
  return node.tasks
    .list()
    .filter(
      (task) => task.worker && node.tasks.end(task.upid) === null && (vmid === undefined || task.id === String(vmid)),
    )
    .map((task) => {
      signal(task.pid, 'SIGKILL');
      return task.pid;
    });
}

function changeGuest(node: SimNode, vmid: number, body: string): ControlAnswer {
  const change = guestChange.safeParse(parse(body));
  if (!change.success) return { status: 400, body: { error: z.prettifyError(change.error) } };
  if (node.guests.get(vmid) === null) return { status: 404, body: { error: `no guest ${vmid}` } };
  node.guests.update(vmid, (guest) => {
    if (change.data.lock === null) delete guest.lock;
    else if (change.data.lock !== undefined) guest.lock = change.data.lock;
    if (change.data.running !== undefined) guest.running = change.data.running;
  });
  return { status: 200, body: node.guests.get(vmid) };
}

function changeCluster({ cluster }: SimNode, body: string): ControlAnswer {
  const change = clusterChange.safeParse(parse(body));
  if (!change.success) return { status: 400, body: { error: z.prettifyError(change.error) } };
  if (cluster === null) return { status: 404, body: { error: 'the node is alone: start it with --cluster' } };
  if (change.data.frozen !== undefined) cluster.freezeList(change.data.frozen);
  if (change.data.restart === true) cluster.restart();
  return { status: 200, body: change.data };
}

function stateOf(node: SimNode): unknown {
  return {
    node: node.name,
    delays: node.delays,
    guests: node.guests.list(),
    storages: node.storages,
    faults: node.faults.list(),
    node_lock_pid: nodeLockHolder(node.state),
    running: node.tasks
      .list()
      .filter((task) => node.tasks.end(task.upid) === null)
      .map((task) => ({ upid: task.upid, pid: task.pid, type: task.type })),
  };
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body === '' ? '{}' : body);
  } catch {
    return undefined; // the schema says what was expected instead
  }
}

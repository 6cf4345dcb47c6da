import { join } from 'node:path';
import { z } from 'zod';
import { cachedJson, withFileLock, writeJson } from './state/files.ts';

const match = {
  /** HTTP method; any when absent. */
  method: z.string().optional(),
  /** Part of the path after `/api2/json`; any when absent. */
  path: z.string().optional(),
  /** How often it strikes; 0 means until the faults are cleared. Default 1. */
  times: z.number().int().min(0).default(1),
};
const guest = { vmid: z.number().int().optional(), times: match.times };

/** Points of a vzdump job at which a worker can be killed. */
export const killPoints = [
  'start',
  'backup-start',
  'pre-stop',
  'snapshot',
  'snapshotted',
  'archive',
  'prune',
  'restart',
] as const;
export type KillPoint = (typeof killPoints)[number];

/** Everything that can be ordered to go wrong. One order is one object; see README.md. */
export const faultOrder = z.discriminatedUnion('fault', [
  z.strictObject({
    fault: z.literal('refuse'),
    ...match,
    status: z.number().int().min(400).max(599).default(500),
    text: z.string().default('refused by order'),
  }),
  z.strictObject({ fault: z.literal('unauthorized'), ...match }),
  z.strictObject({ fault: z.literal('daemon_down'), ...match }),
  z.strictObject({ fault: z.literal('hang'), ...match }),
  z.strictObject({ fault: z.literal('slow'), ...match, ms: z.number().int().min(0) }),
  z.strictObject({ fault: z.literal('reset'), ...match }),
  z.strictObject({ fault: z.literal('drop_answer'), ...match }),
  z.strictObject({ fault: z.literal('hang_answer'), ...match }),
  z.strictObject({ fault: z.literal('html'), ...match, status: z.number().int().default(502) }),
  z.strictObject({ fault: z.literal('truncated_json'), ...match, abrupt: z.boolean().default(false) }),
  z.strictObject({ fault: z.literal('lie'), ...match, data: z.unknown() }),
  z.strictObject({ fault: z.literal('ok_without_upid'), times: match.times }),
  z.strictObject({ fault: z.literal('log_lag'), lines: z.number().int().min(1), times: match.times }),
  z.strictObject({ fault: z.literal('fail_snapshot'), ...guest, text: z.string().default('snapshot failed by order') }),
  z.strictObject({ fault: z.literal('stuck_snapshot'), ...guest }),
  z.strictObject({ fault: z.literal('fail_archive'), ...guest, text: z.string().default('archive failed by order') }),
  z.strictObject({ fault: z.literal('freeze_hangs'), ...guest }),
  z.strictObject({ fault: z.literal('slow_archive'), ...guest, ms: z.number().int().min(0) }),
  z.strictObject({ fault: z.literal('slow_power'), ...guest, ms: z.number().int().min(0) }),
  z.strictObject({ fault: z.literal('leave_down'), ...guest }),
  z.strictObject({ fault: z.literal('ignore_shutdown'), ...guest }),
  z.strictObject({ fault: z.literal('storage_full'), storage: z.string().optional(), times: match.times }),
  z.strictObject({ fault: z.literal('storage_inactive'), storage: z.string() }),
  z.strictObject({ fault: z.literal('kill_worker'), ...guest, at: z.enum(killPoints).optional() }),
  z.strictObject({ fault: z.literal('hold_node_lock') }),
]);
export type FaultOrder = z.infer<typeof faultOrder>;
export type FaultName = FaultOrder['fault'];
export type FaultOf<N extends FaultName> = Extract<FaultOrder, { fault: N }>;

const standing = z.object({ id: z.number().int(), order: faultOrder });
const faultFile = z.object({ next: z.number().int(), clearings: z.number().int(), orders: z.array(standing) });

/** The orders that stand, shared by the simulator and its workers; an order that has struck often enough is gone. */
export interface Faults {
  order(order: z.input<typeof faultOrder>): number;
  clear(): void;
  list(): { id: number; order: FaultOrder }[];
  /** The first order of that name that fits, counted as struck. */
  take<N extends FaultName>(name: N, fits?: (order: FaultOf<N>) => boolean): FaultOf<N> | null;
  /** The same without counting. */
  peek<N extends FaultName>(name: N, fits?: (order: FaultOf<N>) => boolean): FaultOf<N> | null;
  /** Rises with every `clear`: whatever an order holds up lets go then. */
  clearings(): number;
}

export function openFaults(state: string): Faults {
  const path = join(state, 'faults.json');
  const lock = join(state, 'locks', 'faults');
  const readFile = cachedJson(faultFile);
  const read = (): z.infer<typeof faultFile> => readFile(path) ?? { next: 1, clearings: 0, orders: [] };
  const isNamed = <N extends FaultName>(order: FaultOrder, name: N): order is FaultOf<N> => order.fault === name;

  const find = <N extends FaultName>(
    name: N,
    fits: (order: FaultOf<N>) => boolean,
  ): { id: number; order: FaultOf<N> } | null => {
    for (const { id, order } of read().orders) if (isNamed(order, name) && fits(order)) return { id, order };
    return null;
  };
  return {
    order: (input) =>
      withFileLock(lock, () => {
        const file = read();
        const id = file.next;
        writeJson(path, { ...file, next: id + 1, orders: [...file.orders, { id, order: faultOrder.parse(input) }] });
        return id;
      }),
    clear: () =>
      withFileLock(lock, () => writeJson(path, { next: read().next, clearings: read().clearings + 1, orders: [] })),
    list: () => read().orders,
    peek: (name, fits = () => true) => find(name, fits)?.order ?? null,
    clearings: () => read().clearings,
    take: (name, fits = () => true) => {
      if (find(name, fits) === null) return null;
      return withFileLock(lock, () => {
        const found = find(name, fits);
        if (found === null) return null;
        writeJson(path, struck(read(), found.id));
        return found.order;
      });
    },
  };
}

/** The file after order `id` struck once. */
function struck(file: z.infer<typeof faultFile>, id: number): z.infer<typeof faultFile> {
  const orders = file.orders.flatMap((entry) => {
    if (entry.id !== id || !('times' in entry.order) || entry.order.times === 0) return [entry];
    const times = entry.order.times - 1;
    return times === 0 ? [] : [{ id, order: { ...entry.order, times } }];
  });
  return { ...file, orders };
}

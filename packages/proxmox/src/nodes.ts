import { z } from 'zod';
import { type CallOptions, type PveHttp, pvePath } from './http.ts';
import { type Vmid, vmidSchema } from './upid.ts';
import { optionalNumber, optionalText } from './wire.ts';

export interface PveVersion {
  /** `9.2.11` */
  version: string;
  release: string;
}

export interface NodeStatus {
  uptimeSeconds: number;
  memoryTotalBytes: number | null;
  memoryUsedBytes: number | null;
}

/** Where a guest of the cluster is. */
export interface ClusterGuest {
  vmid: Vmid;
  kind: 'lxc' | 'qemu';
  node: string;
  name: string;
  status: string;
  lock: string | null;
  /** The state that high availability wants, null where it does not manage the guest. */
  haState: string | null;
}

export interface PveNodes {
  /** Needs a valid token and no privilege: the cheapest way to ask whether node and token are right. */
  version(options?: CallOptions): Promise<PveVersion>;
  /** Needs Sys.Audit. */
  status(options?: CallOptions): Promise<NodeStatus>;
  /** The node's clock, from an answer's Date header: seconds since the epoch, whole. null where it sent none. */
  clockSeconds(options?: CallOptions): Promise<number | null>;
  /** Every guest of the cluster that the token may see. */
  clusterGuests(options?: CallOptions): Promise<ClusterGuest[]>;
}

const versionSchema = z.object({ version: z.string(), release: z.string().default('') });
const memory = z.object({ total: optionalNumber, used: optionalNumber }).nullish();
const statusSchema = z.object({ uptime: optionalNumber, memory });
const resourceSchema = z.object({
  type: z.string(),
  vmid: vmidSchema.nullish().catch(null),
  node: z.string(),
  name: optionalText,
  status: optionalText,
  lock: optionalText,
  hastate: optionalText,
});

/** `node` itself, and what it knows of its cluster. */
export function pveNodes(http: PveHttp, node: string): PveNodes {
  const version = (options: CallOptions) =>
    http.call({ method: 'GET', path: '/version', schema: versionSchema, ...options });
  return {
    version: async (options = {}) => (await version(options)).data,
    status: async (options = {}) => {
      const { data } = await http.call({
        method: 'GET',
        path: pvePath`/nodes/${node}/status`,
        schema: statusSchema,
        ...options,
      });
      return {
        uptimeSeconds: data.uptime ?? 0,
        memoryTotalBytes: data.memory?.total ?? null,
        memoryUsedBytes: data.memory?.used ?? null,
      };
    },
    clockSeconds: async (options = {}) => {
      const { serverMs } = await version(options);
      return serverMs === null ? null : Math.floor(serverMs / 1000);
    },
    clusterGuests: async (options = {}) => {
      const call = {
        method: 'GET',
        path: '/cluster/resources',
        params: { type: 'vm' },
        schema: z.array(resourceSchema),
      } as const;
      const { data } = await http.call({ ...call, ...options });
      return data.flatMap(toClusterGuest);
    },
  };
}

function toClusterGuest(item: z.infer<typeof resourceSchema>): ClusterGuest[] {
  const { vmid, type: kind } = item;
  if (vmid === null || vmid === undefined || (kind !== 'lxc' && kind !== 'qemu')) return [];
  return [
    {
      vmid,
      kind,
      node: item.node,
      name: item.name ?? '',
      status: item.status ?? '',
      lock: item.lock,
      haState: item.hastate || null,
    },
  ];
}

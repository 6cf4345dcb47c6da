import { Agent } from 'undici';
import type { ManyGuests } from './simulated-node.ts';

/** The requests of a no-op pass and nothing else: no schema, no plan, no record. */
export interface BareScript {
  /** Answers how many requests it made. */
  run(vmids: readonly number[]): Promise<number>;
  close(): Promise<void>;
}

/** As many connections and reads at a time as reconcile has. */
export function bareScript({ url, token, node }: ManyGuests, reads: number): BareScript {
  // The simulator made this certificate a moment ago.
  const agent = new Agent({ connect: { rejectUnauthorized: false }, connections: 16, pipelining: 1 });
  const get = async (path: string): Promise<unknown> => {
    const answer = await agent.request({
      origin: url,
      path: `/api2/json/nodes/${node}${path}`,
      method: 'GET',
      headers: { authorization: `PVEAPIToken=${token}`, accept: 'application/json' },
    });
    if (answer.statusCode !== 200) throw new Error(`${path}: ${answer.statusCode}`);
    return JSON.parse(await answer.body.text());
  };
  return {
    run: async (vmids) => {
      await Promise.all([get('/lxc'), get('/qemu')]);
      let next = 0;
      const reader = async (): Promise<void> => {
        while (next < vmids.length) {
          const vmid = vmids[next];
          next += 1;
          await get(`/lxc/${vmid}/pending`);
        }
      };
      await Promise.all(Array.from({ length: reads }, reader));
      return vmids.length + 2;
    },
    close: async () => await agent.close(),
  };
}

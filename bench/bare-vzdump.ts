import type { Lab } from '@felhom/test/lab/lab.ts';
import { waitUntil } from '@felhom/test/lab/wait-until.ts';
import { Agent, request } from 'undici';
import { z } from 'zod';

const upidAnswer = z.object({ data: z.string().startsWith('UPID:') });
const statusAnswer = z.object({ data: z.object({ status: z.string(), exitstatus: z.string().optional() }) });

/** vzdump of the lab's guest, asked for by nobody but us: no agent, no mark. One connection, opened beforehand. */
export interface BareVzdump {
  /** Answers the UPID. */
  start(): Promise<string>;
  /** Waits for the task's end; throws unless it is `OK`. */
  finish(upid: string): Promise<void>;
  close(): Promise<void>;
}

export async function bareVzdump(lab: Lab): Promise<BareVzdump> {
  const { url, token, node } = lab.simulator;
  // The lab made this certificate itself: pinning is not what is measured here.
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  const headers = { authorization: `PVEAPIToken=${token}` };
  const get = async (path: string): Promise<unknown> =>
    (await request(`${url}/api2/json${path}`, { dispatcher, headers })).body.json();
  await get('/version');
  return {
    start: async () => {
      const body = new URLSearchParams({ vmid: String(lab.vmid), storage: 'bk', mode: 'snapshot', compress: 'zstd' });
      const answer = await request(`${url}/api2/json/nodes/${node}/vzdump`, {
        method: 'POST',
        dispatcher,
        headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' },
        body: body.toString(),
      });
      return upidAnswer.parse(await answer.body.json()).data;
    },
    finish: async (upid) => {
      const path = `/nodes/${node}/tasks/${encodeURIComponent(upid)}/status`;
      const over = await waitUntil(
        'the bare backup ends',
        async () => {
          const { data } = statusAnswer.parse(await get(path));
          return data.status === 'stopped' && data;
        },
        { boundMs: 300_000, everyMs: 100 },
      );
      if (over.exitstatus !== 'OK') throw new Error(`the bare backup ended ${over.exitstatus}`);
    },
    close: async () => await dispatcher.close(),
  };
}

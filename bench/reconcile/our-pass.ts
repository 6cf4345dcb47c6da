import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { silentLog } from '@felhom/cli/log.ts';
import { agentConfigSchema } from 'felhom-agent/config.ts';
import { runPass } from 'felhom-agent/reconcile/pass.ts';
import type { PassReport } from 'felhom-agent/reconcile/report.ts';
import { openReconcile } from 'felhom-agent/reconcile/wiring.ts';
import type { ManyGuests } from './simulated-node.ts';

export interface OurPass {
  /** One pass in which nothing is to be done: files of guests read, node looked at, planned, put on record. */
  run(): Promise<PassReport>;
  /** Called near the end of every pass, when the declaration, what was observed, plan and report are all alive. */
  atEnd: () => void;
  reads: number;
  close(): Promise<void>;
}

/** Reconcile as serve has it, over a folder with one file for each guest. */
export async function ourPass(folder: string, node: ManyGuests, vmids: readonly number[]): Promise<OurPass> {
  const guests = join(folder, 'guests.d');
  await mkdir(guests, { recursive: true });
  // The values that a simulated guest begins with.
  const text = (vmid: number): string =>
    `vmid: ${vmid}\ndesired: { state: running, cores: 2, memory: 2GiB, swap: 512MiB, hostname: ct${vmid} }\n`;
  await Promise.all(vmids.map(async (vmid) => await writeFile(join(guests, `${vmid}.yaml`), text(vmid))));
  // Files that were written just now are read anew in every pass; those of a host are older.
  await new Promise((done) => setTimeout(done, 5_500));
  const tokenFile = join(folder, 'token');
  await writeFile(tokenFile, node.token, { mode: 0o600 });
  const config = agentConfigSchema.parse({
    node: node.node,
    pve: { url: node.url, token_file: tokenFile, fingerprint: node.fingerprint },
    state: join(folder, 'state'),
    guests,
    cluster_files: join(folder, 'no-cluster'),
  });
  const onFatal = (failure: Error): never => {
    throw failure;
  };
  const { ports: open, limits, close } = await openReconcile(config, { log: silentLog, onFatal });
  // The clock is asked for the last time when the report is made.
  const nowMs = (): number => {
    ours.atEnd();
    return open.clock.nowMs();
  };
  const ports = { ...open, clock: { ...open.clock, nowMs } };
  const ours: OurPass = {
    reads: limits.configReads,
    close,
    atEnd: () => undefined,
    run: async () => {
      const report = await runPass(ports, {
        limits,
        vmids: null,
        allowStops: null,
        allowMemoryBelowUse: false,
        lockTimeoutMs: 0,
        stop: new AbortController().signal,
      });
      if (report.outcome !== 'in_sync' || report.counts.in_sync !== vmids.length)
        throw new Error(`the pass is no no-op: ${JSON.stringify(report.counts)}`);
      return report;
    },
  };
  return ours;
}

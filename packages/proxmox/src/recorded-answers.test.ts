import { afterAll, describe, expect, it } from 'vitest';
import { createPveClient, type PveClient } from './client.ts';
import { PveError } from './errors.ts';
import { type Recorded, readRecordings } from './fixtures/recordings.ts';
import { startTestServer } from './fixtures/tls-server.ts';
import { isUpid, parseVmid, type Upid } from './upid.ts';
import { markOf } from './vzdump.ts';

/** Every recorded success, answered byte by byte to the call that would have asked for it. */
const recordings = readRecordings().filter(({ status }) => status === 200);
const ct = { vmid: parseVmid(101), kind: 'lxc' } as const;
const vm = { vmid: parseVmid(300), kind: 'qemu' } as const;
const someUpid = 'UPID:pve1:0000077A:0002BB8B:6B00D971:vzdump:100:root@pam!ref:' as Upid;

const calls: readonly (readonly [RegExp, (client: PveClient) => Promise<unknown>])[] = [
  [/^(?:version|auth-version|proto-(?:keepalive|http10|trailing-slash))/, (pve) => pve.nodes.version()],
  [/^node-status$/, (pve) => pve.nodes.status()],
  [/^cluster-resources-vm$/, (pve) => pve.nodes.clusterGuests()],
  [/^(?:lxc-list|qemu-list|perm-list)/, (pve) => pve.guests.list()],
  [
    /^(?:lxc-status-current|locked-status-current|status-current-stopped|.*\.status-after$)/,
    (pve) => pve.guests.status(ct),
  ],
  [/^qemu-status-current/, (pve) => pve.guests.status(vm)],
  [/^qemu-desc-.*-get$/, (pve) => pve.guests.config(vm)],
  [
    /^(?:desc-.*-get|config-get|locked-config-get|perm-config-get-auditor|daemon-down-config-get|.*\.config(?:-after)?$)/,
    (pve) => pve.guests.config(ct),
  ],
  [
    /^(?:config-put|desc-.*-put|desc-delete|qemu-desc-.*-put|qemu-config-put)/,
    (pve) => pve.guests.setConfig(ct, { digest: 'x' }),
  ],
  [/^(?:task-log-(?:default|while)|.*\.task\.log)/, (pve) => pve.tasks.log(someUpid)],
  [/^(?:task-status|.*\.task\.status)/, (pve) => pve.tasks.status(someUpid)],
  [/^(?:tasks-list|perm-tasks-noperm)/, (pve) => pve.tasks.list()],
  [/^task-stop/, (pve) => pve.tasks.stop(someUpid)],
  [/^storage-status-list$/, (pve) => pve.storage.list()],
  [/^content-item-get/, (pve) => pve.storage.backup('bk:backup/x')],
  [/^content-item-put/, (pve) => pve.storage.setNotes('bk:backup/x', '')],
  [/^content-(?:backup|by-limited|list)/, (pve) => pve.storage.backups('bk')],
  [
    /^(?:start|locked-shutdown-when|locked-stop-when-running|shutdown|stop|lxc-start|qemu-(?:start|stop)|reboot)/,
    (pve) => pve.guests.start(ct),
  ],
  [/^delete-stopped$/, (pve) => pve.irreversible.destroyGuest(ct)],
  [/^content-item-delete(?:-protected)?$/, (pve) => pve.irreversible.deleteBackup('bk:backup/x')],
  [
    /^restore-(?:new|existing-force|no-storage-param)$/,
    (pve) => pve.irreversible.restoreOver({ guest: ct, volid: 'bk:backup/x', storage: 'local' }),
  ],
  [/^(?:vzdump-(?!defaults)|locked-vzdump|unknown-vmid-vzdump)/, (pve) => startBackup(pve)],
];

async function startBackup(pve: PveClient): Promise<unknown> {
  const answer = await pve.vzdump.start({ vmid: ct.vmid, storage: 'bk', mode: 'snapshot', mark: markOf('j') });
  if (answer.kind !== 'started') throw new TypeError(`not started: ${answer.kind}`);
  return answer.upid;
}

const answered = recordings.flatMap((recorded) => {
  const call = calls.find(([pattern]) => pattern.test(recorded.name))?.[1];
  return call === undefined ? [] : [{ ...recorded, call }];
});

let current: Recorded | null = null;
const server = await startTestServer((exchange) => {
  const isStatus = exchange.path.endsWith('/storage/bk/status');
  const body = isStatus ? '{"data":{"type":"dir","active":1}}' : (current?.body ?? '');
  exchange.answer(200, 'OK', body, { 'content-type': current?.contentType ?? '' });
});
const tls = { kind: 'fingerprint', fingerprint: server.fingerprint } as const;
const client = createPveClient({ url: server.url, node: 'pve1', token: 'root@pam!ref=0123456789', tls });
afterAll(async () => {
  await client.close();
  await server.stop();
});

describe('recorded successes', () => {
  it.each(answered)('$name is read', async (recorded) => {
    current = recorded;
    const result = await recorded.call(client).catch((error: unknown) => error);
    expect(result instanceof Error ? result.message : null).toBe(null);
    expect(result instanceof PveError).toBe(false);
    if (typeof result === 'string') expect(isUpid(result)).toBe(true);
  });

  it('leave nothing over but what no part of ours asks for', () => {
    const left = recordings
      .filter(({ name }) => !answered.some((other) => other.name === name))
      .map(({ name }) => name);
    const unasked =
      /^(?:access-permissions|cluster-(?:nextid|status)|config-pending|nodes$|prunebackups|extractconfig|vzdump-defaults|proto-|task-log-download|snapshot-|content-item-delete-delay|qemu-(?:create|config-post))/;
    expect(left.filter((name) => !unasked.test(name))).toEqual([]);
  });
});

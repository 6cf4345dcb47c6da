import { require } from '../auth.ts';
import { openGuests } from '../guests/guest-store.ts';
import { startGuest, stopGuest } from '../guests/power.ts';
import { failure, parameterError } from '../http/api-error.ts';
import { flag, integer, isSet, stringOf } from '../http/parameters.ts';
import type { Call, Route } from '../router.ts';
import type { TaskRun } from '../tasks/task-runner.ts';
import { type GuestKind, guestKinds, guestOf } from './guest-status.ts';

/** Migration to another node of the cluster. A running container is shut down and started there, a running VM keeps running. */
export const migrateRoutes: readonly Route[] = guestKinds.map(
  (kind): Route => ({
    method: 'POST',
    path: `/nodes/{node}/${kind}/{vmid}/migrate`,
    protected: true,
    params: { target: { type: 'string', required: true }, online: flag, restart: flag, timeout: integer },
    allow: ({ caller, vmid }) => require(caller, `/vms/${vmid}`, 'VM.Migrate'),
    handle: (call) => migrate(call, kind),
  }),
);

function migrate(call: Call, kind: GuestKind): string {
  const { node, caller, vmid, params } = call;
  const target = stringOf(params, 'target') ?? '';
  if (target === node.name) throw parameterError({ target: 'target is local node.' });
  if (node.cluster?.nodes().some(({ name }) => name === target) !== true)
    throw failure(`no such cluster node '${target}'`);
  const guest = guestOf(call, kind);
  if (guest.running && kind === 'lxc' && !isSet(params, 'restart') && !isSet(params, 'online'))
    throw failure("can't migrate running container without --online or --restart");
  if (guest.running && kind === 'qemu' && !isSet(params, 'online'))
    throw failure(`can't migrate running VM without --online`);
  const type = kind === 'lxc' ? 'vzmigrate' : 'qmigrate';
  return node.runner.start({ type, id: String(vmid), caller }, (run) => runMigration(call, kind, target, run));
}

async function runMigration({ node, vmid }: Call, kind: GuestKind, target: string, run: TaskRun): Promise<void> {
  const there = node.cluster?.place(target);
  if (there === undefined) throw new Error(`no such cluster node '${target}'`);
  const release = await node.power.enter(vmid, run);
  try {
    const ran = node.guests.update(vmid, (guest) => {
      if (guest.lock !== undefined) throw new Error(`${kind === 'lxc' ? 'CT' : 'VM'} is locked (${guest.lock})`);
      guest.lock = 'migrate';
      return guest.running;
    });
    run.log(`starting migration of ${kind === 'lxc' ? 'CT' : 'VM'} ${vmid} to node '${target}'`);
    const restarts = ran && kind === 'lxc';
    if (restarts) await stopGuest(node.guests, vmid, { ms: node.delays.powerMs, signal: run.signal });
    node.guests.moveTo(there, vmid);
    const guests = openGuests(there);
    guests.update(vmid, (guest) => {
      delete guest.lock;
    });
    if (restarts) await startGuest(guests, vmid, { ms: node.delays.powerMs, signal: run.signal });
    run.log('migration finished successfully');
  } finally {
    release();
  }
}

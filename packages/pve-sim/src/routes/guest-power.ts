import { require } from '../auth.ts';
import type { GuestRecord } from '../guests/guest-record.ts';
import { shutDown, startGuest, stopGuest } from '../guests/power.ts';
import { failure, parameterError } from '../http/api-error.ts';
import { flag, integer, isSet, numberOf, type ParamSpecs } from '../http/parameters.ts';
import type { SimNode } from '../node.ts';
import type { Call, Route } from '../router.ts';
import { type TaskRun, UnexpectedEnd } from '../tasks/task-runner.ts';
import { wait } from '../vzdump/programs.ts';
import { type GuestKind, guestKinds, missingConfig } from './guest-status.ts';

type Verb = 'start' | 'stop' | 'shutdown' | 'reboot';

const params: Record<Verb, ParamSpecs> = {
  start: { skiplock: flag, debug: flag, timeout: integer },
  stop: { skiplock: flag, 'overrule-shutdown': flag, timeout: integer },
  shutdown: { timeout: { type: 'integer', min: 0 }, forceStop: flag, skiplock: flag },
  reboot: { timeout: integer },
};
const verbs: readonly Verb[] = ['start', 'stop', 'shutdown', 'reboot'];
const defaultShutdownSeconds = 60;

/** Start, stop, shutdown and reboot. What is known at once is a 500; a lock is found by the task. */
export const guestPowerRoutes: readonly Route[] = guestKinds.flatMap((kind) =>
  verbs.map(
    (verb): Route => ({
      method: 'POST',
      path: `/nodes/{node}/${kind}/{vmid}/status/${verb}`,
      protected: true,
      params: params[verb],
      allow: ({ caller, vmid }) => require(caller, `/vms/${vmid}`, 'VM.PowerMgmt'),
      handle: (call) => power(call, kind, verb),
    }),
  ),
);

function power(call: Call, kind: GuestKind, verb: Verb): string {
  const { node, vmid, caller } = call;
  if (call.params['skiplock'] !== undefined) throw parameterError({ skiplock: 'Only root may use this option.' });
  const guest = node.guests.get(vmid);
  const running = guest?.kind === kind && guest.running;
  const word = wordOf(kind);
  if (verb === 'start' && running) throw failure(`${word} ${vmid} already running`);
  if (verb !== 'start' && !running && (kind === 'lxc' || guest === null || verb === 'reboot')) {
    throw failure(
      kind === 'qemu' && guest === null ? missingConfig(node.name, kind, vmid) : `${word} ${vmid} not running`,
    );
  }
  const type = `${kind === 'lxc' ? 'vz' : 'qm'}${verb}`;
  return node.runner.start({ type, id: String(vmid), caller }, (run) => runVerb(call, kind, verb, run));
}

async function runVerb(call: Call, kind: GuestKind, verb: Verb, run: TaskRun): Promise<void> {
  const { node, vmid } = call;
  const overruled = new AbortController();
  if (verb === 'stop' && isSet(call.params, 'overrule-shutdown')) node.power.overrule(vmid);
  const release = await node.power.enter(vmid, run, verb === 'shutdown' ? () => overruled.abort() : undefined);
  try {
    const guest = node.guests.get(vmid);
    if (guest?.kind !== kind) throw new Error(missingConfig(node.name, kind, vmid));
    if (verb === 'reboot') return await reboot(node, guest, run);
    if (guest.lock !== undefined) throw new Error(`${wordOf(kind)} is locked (${guest.lock})`);
    if (verb === 'start') return await switchOn(node, vmid, run.signal);
    if (!guest.running) return;
    if (verb === 'shutdown') return await shutdown(call, guest, run, overruled.signal);
    await stopGuest(node.guests, vmid, { ms: powerMs(node, vmid), signal: run.signal });
  } finally {
    release();
  }
}

/** A shutdown that runs out of time fails, unless it may use force; one that fails takes twice its time and 5 s (recorded). */
async function shutdown(call: Call, guest: GuestRecord, run: TaskRun, overruled: AbortSignal): Promise<void> {
  const { node, vmid, params: given } = call;
  const seconds = numberOf(given, 'timeout') ?? defaultShutdownSeconds;
  const deaf = node.faults.take('ignore_shutdown', (fault) => fault.vmid === undefined || fault.vmid === vmid);
  const signal = AbortSignal.any([run.signal, overruled]);
  const limits = { ms: powerMs(node, vmid), timeoutMs: seconds * 1000, deaf: deaf !== null, signal };
  try {
    if (await shutDown(node.guests, vmid, limits)) return;
    if (isSet(given, 'forceStop')) return await stopGuest(node.guests, vmid, { ms: 0, command: false });
    await wait(node.delays.powerMs > 0 ? seconds * 1000 + 5_000 : 0, signal);
  } catch (error) {
    if (!overruled.aborted) throw error;
    run.log(`command 'lxc-stop -n ${vmid} --nokill --timeout ${seconds}' failed: received interrupt`);
    throw new UnexpectedEnd('overruled');
  }
  throw new Error(guest.kind === 'lxc' ? 'container did not stop' : 'VM quit/powerdown failed - got timeout');
}

/** A reboot looks at no lock, the container's own pre-start hook does: it kills the guest and cannot start it again (recorded). */
async function reboot(node: SimNode, guest: GuestRecord, run: TaskRun): Promise<void> {
  await stopGuest(node.guests, guest.vmid, { ms: node.delays.powerMs, signal: run.signal });
  if (node.guests.get(guest.vmid)?.lock !== undefined && guest.kind === 'lxc') {
    run.log('run_buffer: 571 Script exited with status 255');
    run.log(`lxc_init: 845 Failed to run lxc.hook.pre-start for container "${guest.vmid}"`);
    run.log(`__lxc_start: 2039 Failed to initialize container "${guest.vmid}"`);
    throw new Error(`startup for container '${guest.vmid}' failed`);
  }
  await switchOn(node, guest.vmid, run.signal);
}

async function switchOn(node: SimNode, vmid: number, signal: AbortSignal): Promise<void> {
  await startGuest(node.guests, vmid, { ms: powerMs(node, vmid), signal });
}

function powerMs(node: SimNode, vmid: number): number {
  const slow = node.faults.take('slow_power', (fault) => fault.vmid === undefined || fault.vmid === vmid);
  return Math.max(node.delays.powerMs, slow?.ms ?? 0);
}

function wordOf(kind: GuestKind): string {
  return kind === 'lxc' ? 'CT' : 'VM';
}

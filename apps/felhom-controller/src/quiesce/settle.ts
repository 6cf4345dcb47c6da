import type { Clock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { Engine } from '../engine/engine.ts';
import type { QuiesceBounds } from './bounds.ts';
import { debtsFromEngine } from './debt.ts';
import { type Marker, stackOf } from './marker.ts';
import { otherDebtsOwed, settleOtherDebts } from './other-debts.ts';
import { payDebts } from './pay.ts';
import { payCommands } from './pay-commands.ts';
import { toDebt } from './plan.ts';
import type { MarkerPort, MarkerRead } from './ports.ts';
import type { OwedContainer } from './result.ts';
import { type Run, tellDeadline, words } from './run.ts';

export interface SettlePorts {
  engine: Engine;
  clock: Clock;
  markers: MarkerPort;
}

export interface SettleOptions {
  bounds: QuiesceBounds;
  inheritFds: readonly number[];
  warn: (text: string) => void;
}

/** What settling a marker came to. */
export interface SettleEnd {
  /** The marker as it stands now; null: gone. */
  left: Marker | null;
  started: string[];
  owed: OwedContainer[];
  /** A marker that cannot be taken for settled although all that is known of it is paid. */
  failure: Failure | null;
}

/** Pays what a marker of any kind names, and erases what is paid. */
export async function settleMarker(ports: SettlePorts, read: MarkerRead, options: SettleOptions): Promise<SettleEnd> {
  switch (read.kind) {
    case 'absent':
      return { left: null, started: [], owed: [], failure: null };
    case 'present':
      return settleKnown(ports, read.value, options, true);
    case 'newer':
      return settleNewer(ports, read.version, options);
    case 'unreadable':
      return settleUnreadable(ports, read, options);
  }
}

async function settleKnown(
  ports: SettlePorts,
  marker: Marker,
  options: SettleOptions,
  mayWrite: boolean,
): Promise<SettleEnd> {
  const { bounds, inheritFds, warn } = options;
  const started: string[] = [];
  const onPaid = (debt: { name: string }): void => void started.push(debt.name);
  const onTrouble = (debt: { name: string }, why: string): void => warn(`${debt.name} is not running yet: ${why}`);
  const { owed } = await payDebts(ports, marker.debts, { bounds, inheritFds, onPaid, onTrouble });
  const owedStacks = new Set(owed.map(({ debt }) => stackOf(debt)));
  const due = marker.after_start.filter(({ stack }) => !owedStacks.has(stack));
  const commands = await payCommands(ports, due, bounds);
  const left: Marker = {
    ...marker,
    debts: owed.map(({ debt }) => debt),
    after_start: [
      ...commands.owed.map(({ command }) => command),
      ...marker.after_start.filter(({ stack }) => owedStacks.has(stack)),
    ],
  };
  const isPaid = left.debts.length === 0 && left.after_start.length === 0;
  if (mayWrite) {
    try {
      await (isPaid ? ports.markers.erase() : ports.markers.write(left));
    } catch (error) {
      warn(`the marker could not be updated (${words(error)}): it is settled again later`);
    }
  }
  return {
    left: isPaid ? null : left,
    started,
    owed: [
      ...owed.map(({ debt, why }) => ({ stack: stackOf(debt), container: debt.name, why })),
      ...commands.owed.map(({ command, why }) => ({ stack: command.stack, container: command.service, why })),
    ],
    failure: null,
  };
}

/** Written by a newer version: what we understand of it is paid, and it stays for the version that wrote it. */
async function settleNewer(ports: SettlePorts, version: number, options: SettleOptions): Promise<SettleEnd> {
  const read = await ports.markers.readNewer(version);
  const end =
    read.kind === 'present'
      ? await settleKnown(ports, read.value, options, false)
      : { left: null, started: [], owed: [], failure: null };
  const state =
    read.kind === 'present'
      ? end.owed.length === 0
        ? 'all apps it names are running'
        : 'some apps it names are down'
      : 'it cannot be understood at all';
  return {
    ...end,
    failure: new Failure('state_newer', {
      message: `the marker was written by a newer version of this program (format ${version}); ${state}; nothing new is started`,
      hint: 'Install the newer felhom-controller again, then: felhom-controller recover',
    }),
  };
}

/** Both copies cannot be read: docker still knows what ended since the marker was written. */
async function settleUnreadable(
  ports: SettlePorts,
  { reason, mtimeMs }: { reason: string; mtimeMs: number },
  options: SettleOptions,
): Promise<SettleEnd> {
  const [engine, containers] = [await ports.engine.identity(), await ports.engine.list()];
  const debts = debtsFromEngine(containers, mtimeMs, 'unreadable', (container) =>
    toDebt(container, containers, 'unreadable'),
  );
  const since = new Date(mtimeMs).toISOString();
  const known: Marker = {
    run_id: 'unreadable',
    job_id: null,
    boot_id: '',
    // What stays owed is found under the lock of this engine, also while it does not answer.
    engine_id: engine.id,
    written_at_ms: mtimeMs,
    deadline_at_ms: mtimeMs,
    debts,
    after_start: [],
  };
  // Written back as a readable marker where something stays owed, erased where all runs again.
  const end = await settleKnown(ports, known, options, true);
  const names = debts.map(({ name }) => name).join(', ');
  return {
    ...end,
    failure: new Failure('state_unreadable', {
      message: `the marker could not be read (${reason}); what docker saw end since ${since} was started: ${names === '' ? 'nothing' : names}`,
      hint: 'Compare with what should run: felhom-controller stack list',
    }),
  };
}

/** Before a run: the debts of an earlier one. What cannot be paid stays owed, and the run goes on without those stacks. */
export async function settleEarlier(run: Run): Promise<Marker | null> {
  const { engine, clock, markers } = run.ports;
  const read = await markers.read();
  if (read.kind === 'absent' && (await otherDebtsOwed(run.ports)).length === 0) return null;
  const { maxQuiesceMs, payRetryMs } = run.options.bounds;
  await tellDeadline(run, clock.nowMs() + maxQuiesceMs + payRetryMs);
  const options = {
    bounds: run.options.bounds,
    inheritFds: run.lock.inheritFds,
    warn: (text: string) => run.warn(text),
  };
  const end = await settleMarker({ engine, clock, markers }, read, options);
  const others = await settleOtherDebts(run.ports, { ...options, stop: run.options.stop });
  await tellDeadline(run, null);
  if (end.failure?.code === 'state_newer') throw end.failure;
  if (end.failure !== null) run.warn(end.failure.message);
  if (others.failure !== null) run.warn(others.failure.message);
  if (end.started.length + others.started.length > 0) run.mark('settled_earlier');
  run.owedBefore = [...end.owed, ...others.owed];
  return end.left;
}

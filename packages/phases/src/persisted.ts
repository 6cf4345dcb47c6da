import { type StateFile, type StateFileOptions, stateFile } from '@felhom/durable/state-file.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import type { Edges, Machine, PhaseOf, PossibleStep } from './machine.ts';

/*
 * Invariants
 * - The file is written before a step counts: who sees the new phase sees it after a crash too.
 * - Only steps of the table are written. A file with a phase that the table does not know, or with a history that is no
 *   walk along its edges, is refused: it is another program's or damaged, and acting on it would be a guess.
 * - Attempts belong to a target: another target starts counting anew.
 * - The loop guard bounds the steps of one attempt, so that a machine that circles stops and says so.
 * - Failed checks count only in the phases that are named for it, and in a row: a check that passes, a new attempt and a
 *   phase of success begin anew. A phase of success also clears the last error: what went well has none.
 */

/** Where a machine stands, as it lies on disk. */
export interface Standing<P extends string, D> {
  phase: P;
  /** What this attempt is about (a version, an image id): attempts are counted per target. */
  target: string | null;
  /** Wall time in ms since the epoch. */
  startedAtMs: number;
  updatedAtMs: number;
  attempts: number;
  /** Failed health checks of this attempt, in a row; they outlive whoever counted them. */
  checkFailures: number;
  lastError: string | null;
  /** Steps since the attempt began: what the loop guard counts. */
  steps: number;
  /** The last phases with their times, oldest first, bounded. */
  history: { phase: P; atMs: number }[];
  /** What the machine's owner keeps with its phase. */
  data: D;
}

export interface PersistedOptions<E extends Edges, D> {
  machine: Machine<E>;
  /** Phases in which all is well: entering one clears the last error and the failed checks. Default: none. */
  success?: readonly PhaseOf<E>[];
  /** Phases in which failed checks count. Default: all. */
  checked?: readonly PhaseOf<E>[];
  path: string;
  version: number;
  data: z.ZodType<D>;
  clock: Clock;
  /** How many of the last phases are kept, default 50. */
  historyEntries?: number;
  /** Steps of one attempt before the loop guard refuses, default 100. */
  mostSteps?: number;
  /** How the file is opened; the crash simulation has none on a disk. */
  openFile?: <T>(options: StateFileOptions<T>) => StateFile<T>;
}

/** A machine whose standing survives a crash. One writer at a time: whoever steps holds the lock of what it works on. */
export interface PersistedMachine<E extends Edges, D> {
  /** Null: never begun. Throws Failure `state_newer` or `state_unreadable`. */
  read(): Promise<Standing<PhaseOf<E>, D> | null>;
  /** Starts an attempt at the initial phase. Throws Failure `busy` while another has not ended. */
  begin(target: string, data: D): Promise<Standing<PhaseOf<E>, D>>;
  /** One step along an edge, durable when it resolves. Throws Failure `bug`, `state_unwritable`. */
  step(to: PhaseOf<E>, change?: Change<D>): Promise<Standing<PhaseOf<E>, D>>;
  /** As step, where the caller knows in which phase it is: an illegal literal step does not compile. */
  readonly stepFrom: <const From extends PhaseOf<E>, const To extends PhaseOf<E>>(
    from: From,
    to: To & PossibleStep<E, From, To>,
    change?: Change<D>,
  ) => Promise<Standing<PhaseOf<E>, D>>;
  /** Changes what is kept with the phase without a step. */
  note(change: Change<D>): Promise<Standing<PhaseOf<E>, D>>;
  /** One more failed check in a row, durable when it resolves. Throws Failure `bug` in a phase in which none counts. */
  countFailure(why: string): Promise<Standing<PhaseOf<E>, D>>;
  /** A check has passed: the next failed one is the first in its row. */
  countPass(): Promise<Standing<PhaseOf<E>, D>>;
  remove(): Promise<void>;
}

export interface Change<D> {
  data?: D;
  lastError?: string | null;
  checkFailures?: number;
}

const defaultHistoryEntries = 50;
const defaultMostSteps = 100;

/** A machine over one state file. */
export function persistedMachine<E extends Edges, D>(options: PersistedOptions<E, D>): PersistedMachine<E, D> {
  type P = PhaseOf<E>;
  type Now = Standing<P, D>;
  const { machine, path, clock, historyEntries = defaultHistoryEntries, mostSteps = defaultMostSteps } = options;
  const { success = [], checked = machine.phases } = options;
  const schema = standingSchema(machine, options.data);
  const file = (options.openFile ?? stateFile)<Now>({ path, version: options.version, schema });

  const read = async (): Promise<Now | null> => {
    const found = await file.read();
    if (found.kind === 'present') return found.value;
    if (found.kind === 'absent') return null;
    throw refused(path, found);
  };
  const present = async (): Promise<Now> => {
    const now = await read();
    if (now === null) throw bug(`a step was made in ${path} before anything was begun`);
    return now;
  };
  const save = async (next: Now): Promise<Now> => {
    await file.write(next);
    return next;
  };
  const move = async (now: Now, to: P, change: Change<D>): Promise<Now> => {
    if (!machine.canStep(now.phase, to)) throw bug(`${now.phase} -> ${to} is not a step (${path})`);
    if (now.steps >= mostSteps) throw bug(`${path} has made ${now.steps} steps without an end: it goes in circles`);
    const atMs = clock.nowMs();
    const history = [...now.history, { phase: to, atMs }].slice(-historyEntries);
    const cleared = success.includes(to) ? { lastError: null, checkFailures: 0 } : {};
    return save({ ...now, ...change, ...cleared, phase: to, updatedAtMs: atMs, steps: now.steps + 1, history });
  };
  const note = async (now: Now, change: Change<D>): Promise<Now> =>
    save({ ...now, ...change, updatedAtMs: clock.nowMs() });

  return {
    read,
    begin: async (target, data) => {
      const before = await read();
      if (before !== null && before.phase !== machine.initial && !machine.isTerminal(before.phase)) {
        throw unfinished(path, before);
      }
      const atMs = clock.nowMs();
      const attempts = before?.target === target ? before.attempts + 1 : 1;
      const phase = machine.initial;
      const fresh = { phase, startedAtMs: atMs, updatedAtMs: atMs, checkFailures: 0, lastError: null, steps: 0 };
      return save({ ...fresh, target, attempts, history: [{ phase, atMs }], data });
    },
    step: async (to, change = {}) => move(await present(), to, change),
    stepFrom: async (from, to, change = {}) => {
      const now = await present();
      if (now.phase !== from) throw bug(`a step from ${from} was made in ${path}, which stands at ${now.phase}`);
      return move(now, to, change);
    },
    note: async (change) => note(await present(), change),
    countFailure: async (why) => {
      const now = await present();
      if (!checked.includes(now.phase)) throw bug(`a failed check was counted in ${now.phase} (${path})`);
      return note(now, { checkFailures: now.checkFailures + 1, lastError: why });
    },
    countPass: async () => note(await present(), { checkFailures: 0 }),
    remove: () => file.remove(),
  };
}

function standingSchema<E extends Edges, D>(
  machine: Machine<E>,
  data: z.ZodType<D>,
): z.ZodType<Standing<PhaseOf<E>, D>> {
  const count = z.number().int().nonnegative();
  const phase = z.custom<PhaseOf<E>>((value) => typeof value === 'string' && machine.isPhase(value), {
    error: 'a phase that this program does not know',
  });
  const standing = z.object({
    phase,
    target: z.string().nullable(),
    startedAtMs: z.number(),
    updatedAtMs: z.number(),
    attempts: count,
    checkFailures: count,
    lastError: z.string().nullable(),
    steps: count,
    history: z.array(z.object({ phase, atMs: z.number() })).min(1),
    data,
  });
  return standing.refine(
    ({ history, phase: now, steps }) => {
      const walk = history.map((entry) => entry.phase);
      const whole = steps === walk.length - 1;
      return walk.at(-1) === now && (whole ? machine.isLegalWalk(walk) : machine.isLegalStretch(walk));
    },
    { error: 'its history is no walk along the edges of its table' },
  );
}

function refused(
  path: string,
  found: { kind: 'newer'; version: number } | { kind: 'unreadable'; reason: string },
): Failure {
  if (found.kind === 'newer') {
    return new Failure('state_newer', {
      message: `${path} was written by a newer version of this program (its format is ${found.version}). Nothing was changed.`,
      hint: 'Install that version again, or a newer one.',
    });
  }
  return new Failure('state_unreadable', {
    message: `${path} is not understood: ${found.reason}. Nothing was changed.`,
    hint: 'Look at the file; moving it away makes this program start over from what it observes.',
  });
}

function unfinished(path: string, now: Standing<string, unknown>): Failure {
  return new Failure('busy', {
    message: `an attempt for ${now.target ?? 'nothing'} stands at ${now.phase} (${path}). Nothing was changed.`,
    hint: 'Let it end, or recover it, before another is begun.',
  });
}

function bug(message: string): Failure {
  return new Failure('bug', { message, hint: 'This is a defect. Please report it with this message.' });
}

import { Failure } from '@felhom/kernel/failure.ts';

/*
 * A table of phases. The absence of an edge is the safety argument: what is not in the table never happens, because
 * every step of ours goes through assertStep, and a step whose phases are literals does not even compile.
 */

/** From each phase to those that may follow. Every phase is a key; a terminal one has no followers. */
export type Edges = Readonly<Record<string, readonly string[]>>;

export type PhaseOf<E extends Edges> = keyof E & string;

/** What may follow `From`. Over a union of phases: what may follow any of them. */
export type Next<E extends Edges, From extends PhaseOf<E>> = E[From][number] & PhaseOf<E>;

/**
 * `unknown` where a step from `From` to `To` can be legal, `never` where no member of the two unions
 * makes an edge: intersected with the type of an argument it turns an illegal literal step into a compile error.
 */
export type PossibleStep<E extends Edges, From extends PhaseOf<E>, To extends string> = [
  Extract<To, Next<E, From>>,
] extends [never]
  ? never
  : unknown;

export interface Machine<E extends Edges> {
  readonly initial: PhaseOf<E>;
  readonly phases: readonly PhaseOf<E>[];
  readonly terminal: readonly PhaseOf<E>[];
  next(from: PhaseOf<E>): readonly PhaseOf<E>[];
  isPhase(text: string): text is PhaseOf<E>;
  isTerminal(phase: PhaseOf<E>): boolean;
  canStep(from: PhaseOf<E>, to: PhaseOf<E>): boolean;
  /** Answers `to`. Throws Failure `bug` for a step that is not in the table. */
  readonly assertStep: <const From extends PhaseOf<E>, const To extends PhaseOf<E>>(
    from: From,
    to: To & PossibleStep<E, From, To>,
  ) => To;
  /** Whether the phases, in order, are a walk along edges that begins at the initial phase. */
  isLegalWalk(walk: readonly string[]): boolean;
  /** The same for a walk whose beginning is not known. */
  isLegalStretch(walk: readonly string[]): boolean;
}

export interface Table<E extends Edges> {
  initial: keyof E & string;
  terminal: readonly (keyof E & string)[];
  edges: E & { readonly [From in keyof E]: readonly (keyof E & string)[] };
}

/**
 * Checks the table once and answers its machine. Throws Failure `bug` for an edge to an unknown
 * phase, a phase without followers that is not terminal (or the other way round), or one that
 * cannot be reached.
 */
export function defineMachine<const E extends Edges>(table: Table<E>): Machine<E> {
  const edges: ReadonlyMap<string, readonly string[]> = new Map(Object.entries(table.edges));
  const terminal: ReadonlySet<string> = new Set(table.terminal);
  const phases = Object.keys(table.edges) as PhaseOf<E>[];
  checkTable(table.initial, terminal, edges);
  const canStep = (from: string, to: string): boolean => edges.get(from)?.includes(to) === true;
  const isLegalStretch = (walk: readonly string[]): boolean =>
    walk.every((phase, i) => (i === 0 ? edges.has(phase) : canStep(walk[i - 1] ?? '', phase)));
  return {
    initial: table.initial,
    phases,
    terminal: table.terminal,
    next: (from) => table.edges[from] ?? [],
    isPhase: (text): text is PhaseOf<E> => edges.has(text),
    isTerminal: (phase) => terminal.has(phase),
    canStep,
    assertStep: (from, to) => {
      if (canStep(from, to)) return to;
      throw illegal(
        `${from} -> ${to} is not a step of this machine (from ${from}: ${edges.get(from)?.join(', ') || 'none'})`,
      );
    },
    isLegalWalk: (walk) => walk[0] === table.initial && isLegalStretch(walk),
    isLegalStretch,
  };
}

function checkTable(
  initial: string,
  terminal: ReadonlySet<string>,
  edges: ReadonlyMap<string, readonly string[]>,
): void {
  const reached = new Set([initial]);
  for (const phase of reached) for (const next of edges.get(phase) ?? []) reached.add(next);
  for (const phase of [...terminal, ...reached]) {
    if (!edges.has(phase)) throw illegal(`the table names a phase "${phase}" that it does not have`);
  }
  for (const [phase, next] of edges) {
    if ((next.length === 0) !== terminal.has(phase)) throw illegal(`"${phase}" must have followers, or be terminal`);
    if (!reached.has(phase)) throw illegal(`"${phase}" cannot be reached from "${initial}"`);
  }
}

function illegal(message: string): Failure {
  return new Failure('bug', { message, hint: 'This is a defect. Please report it with this message.' });
}

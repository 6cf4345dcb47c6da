import { Failure } from '@felhom/kernel/failure.ts';
import * as fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { defineMachine, type Next, type PossibleStep } from './machine.ts';

const edges = {
  queued: ['ready', 'capturing', 'failed'],
  ready: ['capturing', 'failed'],
  capturing: ['snapshotted', 'done', 'failed'],
  snapshotted: ['done', 'failed'],
  done: [],
  failed: [],
} as const;
const machine = defineMachine({ initial: 'queued', terminal: ['done', 'failed'], edges });
type Phase = keyof typeof edges;
const phases = Object.keys(edges) as Phase[];

describe('the table', () => {
  test('knows its phases, its terminal ones and what follows each', () => {
    expect(machine.phases).toEqual(phases);
    expect(machine.initial).toBe('queued');
    expect(phases.filter((phase) => machine.isTerminal(phase))).toEqual(['done', 'failed']);
    expect(machine.next('ready')).toEqual(['capturing', 'failed']);
    expect(machine.isPhase('ready')).toBe(true);
    expect(machine.isPhase('toString')).toBe(false);
  });

  test('lets exactly its edges be stepped, for every pair of phases', () => {
    for (const from of phases) {
      for (const to of phases) {
        const legal = (edges[from] as readonly string[]).includes(to);
        expect(machine.canStep(from, to)).toBe(legal);
        const step = (): unknown => machine.assertStep(from, to);
        if (legal) expect(step()).toBe(to);
        else expect(step).toThrow(Failure);
      }
    }
  });

  test('names the illegal step and what would have been legal', () => {
    const from: Phase = phases[1] ?? 'queued';
    const to: Phase = phases[4] ?? 'queued';
    expect(() => machine.assertStep(from, to)).toThrow(
      'ready -> done is not a step of this machine (from ready: capturing, failed)',
    );
  });

  test.each([
    ['a phase that it does not have', { initial: 'a', terminal: ['b'], edges: { a: ['b', 'c'], b: [] } }],
    ['an unknown initial phase', { initial: 'x', terminal: ['b'], edges: { a: ['b'], b: [] } }],
    ['an unknown terminal phase', { initial: 'a', terminal: ['b', 'x'], edges: { a: ['b'], b: [] } }],
    ['a dead end that is not terminal', { initial: 'a', terminal: [], edges: { a: ['b'], b: [] } }],
    ['a terminal phase with followers', { initial: 'a', terminal: ['a', 'b'], edges: { a: ['b'], b: [] } }],
    ['a phase that is never reached', { initial: 'a', terminal: ['b'], edges: { a: ['b'], b: [], c: ['b'] } }],
  ])('is refused with %s', (_, table) => {
    expect(() => defineMachine<Record<string, readonly string[]>>(table)).toThrow(Failure);
  });
});

describe('an illegal step that the compiler can see', () => {
  type Edges = typeof edges;

  test('has no type: between two literals without an edge', () => {
    expectTypeOf<PossibleStep<Edges, 'ready', 'done'>>().toBeNever();
    expectTypeOf<PossibleStep<Edges, 'capturing', 'queued'>>().toBeNever();
    expectTypeOf<PossibleStep<Edges, 'ready', 'capturing'>>().toBeUnknown();
  });

  test('has no type: out of a terminal phase, whatever follows', () => {
    expectTypeOf<PossibleStep<Edges, 'done', Phase>>().toBeNever();
    expectTypeOf<Next<Edges, 'failed'>>().toBeNever();
  });

  test('has no type: into the initial phase, which nothing leads to', () => {
    expectTypeOf<PossibleStep<Edges, Phase, 'queued'>>().toBeNever();
  });

  test('is left to the run time where it may be legal', () => {
    expectTypeOf<PossibleStep<Edges, Phase, Phase>>().toBeUnknown();
    expectTypeOf<PossibleStep<Edges, 'ready' | 'capturing', 'snapshotted'>>().toBeUnknown();
  });

  test('makes its argument a never, so that the call does not compile', () => {
    const step = machine.assertStep<'ready', 'done'>;
    expectTypeOf(step).parameter(1).toBeNever();
    const legal = machine.assertStep<'ready', 'capturing'>;
    expectTypeOf(legal).parameter(1).toEqualTypeOf<'capturing'>();
    expectTypeOf(machine.assertStep('ready', 'capturing')).toEqualTypeOf<'capturing'>();
    expectTypeOf<Next<Edges, 'ready'>>().toEqualTypeOf<'capturing' | 'failed'>();
  });
});

describe('a walk', () => {
  test('along edges from the initial phase is legal', () => {
    expect(machine.isLegalWalk(['queued', 'ready', 'capturing', 'snapshotted', 'done'])).toBe(true);
    expect(machine.isLegalWalk(['queued'])).toBe(true);
  });

  test.each([
    [[]],
    [['ready', 'capturing']],
    [['queued', 'snapshotted']],
    [['queued', 'failed', 'queued']],
    [['queued', 'queued']],
    [['queued', 'nowhere']],
    [['nowhere']],
  ])('%j is not', (walk) => {
    expect(machine.isLegalWalk(walk)).toBe(false);
  });

  test('of any choices along edges is legal, and illegal with any foreign phase put in', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 8 }), fc.nat(), (choices, where) => {
        const walk: Phase[] = ['queued'];
        for (const choice of choices) {
          const next: readonly Phase[] = machine.next(walk.at(-1) ?? 'queued');
          const to = next[choice % Math.max(next.length, 1)];
          if (to !== undefined) walk.push(to);
        }
        expect(machine.isLegalWalk(walk)).toBe(true);
        expect(machine.isLegalWalk(walk.toSpliced(where % (walk.length + 1), 0, 'nowhere' as Phase))).toBe(false);
      }),
    );
  });

  test('whose beginning is not known may begin anywhere', () => {
    expect(machine.isLegalStretch(['capturing', 'done'])).toBe(true);
    expect(machine.isLegalStretch(['nowhere', 'done'])).toBe(false);
    expect(machine.isLegalStretch(['done', 'capturing'])).toBe(false);
  });
});

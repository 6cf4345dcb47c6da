import type { TestModule, Vitest } from 'vitest/node';
import { startVitest } from 'vitest/node';

export interface TestOutcome {
  /** File and full name. */
  name: string;
  state: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped, in the words of the test. */
  note?: string;
}

/** Runs the projects of vitest.config.ts once, with vitest's own output, and answers what became of every test. */
export async function runVitest(filters: string[]): Promise<TestOutcome[]> {
  const vitest = await startVitest('test', filters, { run: true, watch: false });
  const outcomes = vitest.state.getTestModules().flatMap(outcomesOf);
  const errors = strayErrors(vitest);
  await vitest.close();
  return [...outcomes, ...errors];
}

function outcomesOf(module: TestModule): TestOutcome[] {
  const file = module.relativeModuleId;
  const tests = [...module.children.allTests()].map((test): TestOutcome => {
    const result = test.result();
    const name = `${file}: ${test.fullName}`;
    if (result.state === 'skipped') return { name, state: 'skipped', note: result.note ?? 'no reason given' };
    // Still pending at the end: its file died before it ran.
    return { name, state: result.state === 'passed' ? 'passed' : 'failed' };
  });
  // A file that cannot be loaded, or whose hooks failed, has failed even where no test of it did.
  const broken =
    module.errors().length > 0 || (module.state() === 'failed' && tests.every((test) => test.state !== 'failed'));
  return broken ? [...tests, { name: `${file}: the file itself`, state: 'failed' }] : tests;
}

function strayErrors(vitest: Vitest): TestOutcome[] {
  return vitest.state.getUnhandledErrors().map((error) => ({
    name: `outside of every test: ${error instanceof Error ? error.message : String(error)}`,
    state: 'failed',
  }));
}

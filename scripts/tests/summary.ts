import type { CheckResult } from '../checks/run-checks.ts';
import type { TestOutcome } from './run-vitest.ts';

export interface Results {
  checks: readonly CheckResult[];
  tests: readonly TestOutcome[];
  inCi: boolean;
}

/** What was skipped and why, what failed, and `N passed, N failed` as the last line. A skip fails only in CI. */
export function summarize({ checks, tests, inCi }: Results): { lines: string[]; failed: number } {
  const skipped = tests.filter((test) => test.state === 'skipped');
  const failures = [
    ...checks.filter((check) => !check.passed).map((check) => `check: ${check.name}`),
    ...tests.filter((test) => test.state === 'failed').map((test) => test.name),
    ...(inCi ? skipped.map((test) => `skipped in CI: ${test.name}`) : []),
    ...(tests.length === 0 ? ['no test was found'] : []),
  ];
  const passed = checks.filter((check) => check.passed).length + tests.filter((test) => test.state === 'passed').length;
  const lines = [
    '',
    ...(skipped.length === 0 ? ['Nothing was skipped.'] : ['Skipped:', ...skipped.map(skipLine)]),
    ...(failures.length === 0 ? [] : ['Failed:', ...failures.map((name) => `  ${name}`)]),
    `${passed} passed, ${failures.length} failed`,
  ];
  return { lines, failed: failures.length };
}

function skipLine({ name, note }: TestOutcome): string {
  return `  ${name}: ${note ?? 'no reason given'}`;
}

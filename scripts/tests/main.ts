import { bundleApps } from '../build/bundle.ts';
import { runChecks } from '../checks/run-checks.ts';
import { runVitest } from './run-vitest.ts';
import { summarize } from './summary.ts';

const filters = process.argv.slice(2);
const inCi = process.env['CI'] === 'true' || process.env['CI'] === '1';

const checks = filters.length === 0 ? await runChecks() : [];
const build = await bundleApps().then(
  () => ({ name: 'build', passed: true }),
  (error: unknown) => {
    process.stderr.write(`build: ${error instanceof Error ? error.message : String(error)}\n`);
    return { name: 'build', passed: false };
  },
);
const tests = await runVitest(filters);
const { lines, failed } = summarize({ checks: [...checks, build], tests, inCi });
process.stdout.write(`${lines.join('\n')}\n`, () => process.exit(failed === 0 ? 0 : 1));

import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
const bin = join(root, 'node_modules/.bin');

export interface Check {
  name: string;
  command: string;
  args: readonly string[];
}

export interface CheckResult {
  name: string;
  passed: boolean;
}

const checks: readonly Check[] = [
  { name: 'types', command: join(bin, 'tsc'), args: ['--noEmit', '--pretty', 'false', '-p', '.'] },
  { name: 'format and lint', command: join(bin, 'biome'), args: ['check', '--error-on-warnings', '.'] },
  { name: 'lint by types', command: join(bin, 'oxlint'), args: ['--type-aware', '--deny-warnings'] },
  { name: 'package boundaries', command: join(root, 'scripts/turbo'), args: ['boundaries'] },
  { name: 'layers', command: join(bin, 'tsx'), args: ['scripts/check-layers.ts'] },
  { name: 'dead code', command: join(bin, 'knip'), args: ['--no-progress'] },
];

/** Runs every check, side by side, and prints what a failed one said. One that fails does not stop the others. */
export async function runChecks(): Promise<CheckResult[]> {
  return Promise.all(
    checks.map(async (check) => {
      const { code, output } = await run(check);
      const passed = code === 0;
      process.stderr.write(passed ? `check: ${check.name}: ok\n` : `check: ${check.name}: FAILED\n${output}\n`);
      return { name: check.name, passed };
    }),
  );
}

/** The exit code, and both outputs as they came. A program that cannot be started counts as failed. */
function run({ command, args }: Check): Promise<{ code: number; output: string }> {
  return new Promise((done) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.on('error', (error) => done({ code: 1, output: error.message }));
    child.on('close', (code) => done({ code: code ?? 1, output: Buffer.concat(chunks).toString('utf8') }));
  });
}

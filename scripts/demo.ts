import { runDemo } from './demo.d/run-demo.ts';

const json = process.argv.includes('--json');
// With --json stdout carries the result alone; the story goes to stderr.
const say = (line: string): boolean => (json ? process.stderr : process.stdout).write(`${line}\n`);

try {
  const result = await runDemo({ say, json });
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
} catch (error) {
  say(`\ndemo: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

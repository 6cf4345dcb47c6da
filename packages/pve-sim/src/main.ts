import { readArguments } from './cli-arguments.ts';
import { recordedDelays } from './delays.ts';
import { watchRunner } from './orphan.ts';
import { startPveSim } from './sim.ts';

// `npm run -s pve-sim -- …`: one JSON line on stdout once ready, then until SIGTERM or SIGINT.

async function main(): Promise<void> {
  const options = readArguments(process.argv.slice(2), process.env['INIT_CWD'] ?? process.cwd());
  const sim = await startPveSim(options);
  const delays = Object.entries(options.delays ?? recordedDelays).map(([name, ms]) => `${name}=${ms}`);
  process.stderr.write(`pve-sim: delays ${delays.join(' ')} authDelayMs=${options.authDelayMs}\n`);
  const end = (): void => {
    void sim.stop().then(() => process.exit(0));
  };
  if (process.env['npm_lifecycle_event'] !== undefined) watchRunner(end);
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
  // Last of all: who has read this line may end us.
  const { url, token, fingerprint, node } = sim;
  process.stdout.write(`${JSON.stringify({ url, token, fingerprint, node })}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`pve-sim: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(2);
});

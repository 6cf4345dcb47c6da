import type { HookCall } from 'felhom-agent/backup/hook-gate.ts';
import type { AgentWorld } from './agent-world.ts';

/** How long vzdump may be kept waiting by its hook, whatever agent and controller do. */
const holdMaxMs = 120_000;
/** The same in every other phase: the answer to a POST of ours is waited for, then the apps' start. */
const otherMaxMs = 7_000;

/**
 * Our hook script: first contact or none; once admitted it comes back by its gate until the hold is over.
 * False: it ends 1.
 */
export async function runHook(world: AgentWorld, call: HookCall): Promise<boolean> {
  const beganMs = world.clock.monotonicMs();
  const goesOn = await converse(world, call);
  const waitedMs = world.clock.monotonicMs() - beganMs;
  const mostMs = call.phase === 'pre-stop' ? (world.scenario.holdMaxMs ?? holdMaxMs) : otherMaxMs;
  // A second more than the gate has, and what the answers take.
  if (waitedMs > mostMs + 1_500) world.violation(`the hook kept vzdump waiting for ${waitedMs} ms at ${call.phase}`);
  return goesOn;
}

async function converse(world: AgentWorld, call: HookCall): Promise<boolean> {
  const { bootId, clock } = world;
  const answer = await world.call(`hook ${call.phase}`, async (app) => await app.hook.call(call)).catch(() => 'go');
  const [word, gate = '', seconds = '0'] = answer.split(' ');
  if (word !== 'gate') return word !== 'fail';
  const untilMs = clock.monotonicMs() + Number(seconds) * 1_000;
  while (clock.monotonicMs() < untilMs && world.bootId === bootId) {
    const enough = new AbortController();
    const patience = clock.sleep(untilMs - clock.monotonicMs(), enough.signal).then(() => 'late');
    const asked = world.call('hook wait', async (app) => await app.hook.wait(gate, enough.signal)).catch(() => null);
    const verdict = await Promise.race([asked, patience]);
    enough.abort();
    if (verdict === null) await world.pauseBeforeRetry();
    else if (verdict === 'late') break;
    else if (verdict !== 'wait') return !verdict.startsWith('fail');
  }
  world.note('the hook goes on by itself');
  return true;
}

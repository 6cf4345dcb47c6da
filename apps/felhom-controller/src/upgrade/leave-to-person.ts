import type { LadderEnd } from './ladder.ts';
import { letGo, record, type Transaction } from './run.ts';

/** The new version stays as it is and a person decides: the alert says what, and nothing is owed any more where it is not healthy. */
export async function leaveToPerson(
  { ports, debt, warn }: Transaction,
  end: LadderEnd,
  { message, hint }: { message: string; hint: string },
): Promise<void> {
  await ports.alerts.raise({
    id: debt.run_id,
    stack: debt.stack,
    attempted: debt.target.images.map(({ service, ref }) => `${service}=${ref}`).join(' '),
    last_good: debt.old.map(({ name, image_ref }) => `${name}=${image_ref}`).join(' '),
    recovered: false,
    at: new Date(ports.clock.nowMs()).toISOString(),
    message,
    hint,
  });
  if (end.why === null) return;
  await ports.memory.saveLastGood({ stack: debt.stack, definition: null, previous: debt });
  await record({ ports, debt, warn }, async (machine) => {
    const now = await machine.read();
    if (now !== null) await machine.note({ lastError: end.why, data: { ...now.data, waits_for_person: true } });
  });
  await letGo({ ports, debt, warn });
}

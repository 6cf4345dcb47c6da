import { asFailure } from '@felhom/kernel/failure.ts';
import { owe, type Transaction } from './run.ts';

/**
 * Says durably that it is rolled back. An app that has filled the disk leaves no room for even that: then it is stopped,
 * since it would fill what is freed as well, and the room set aside is given back first. Where that was not enough either
 * what was stopped is started again. @throws Failure `state_unwritable`; the debt stands as it was.
 */
export async function beginBack(transaction: Transaction, why: string): Promise<void> {
  const said = async (): Promise<void> => await owe(transaction, { phase: 'rolling_back', reason: why });
  try {
    return await said();
  } catch (error) {
    const { code, message } = asFailure(error);
    if (code !== 'state_unwritable' || transaction.debt.reserved.length === 0) throw error;
    transaction.warn(`${message}; ${transaction.debt.stack} is stopped, and the room set aside for it is given back`);
  }
  const stopped = await stopWhatRuns(transaction);
  await transaction.ports.files.release(transaction.debt.reserved);
  try {
    await said();
  } catch (error) {
    for (const id of stopped) await startAgain(transaction, id);
    throw error;
  }
}

async function stopWhatRuns({ ports: { engine }, debt, settings: { quiesce } }: Transaction): Promise<string[]> {
  const up = (await engine.list()).filter(
    ({ project, status }) => project === debt.stack && (status === 'running' || status === 'restarting'),
  );
  const stops = up.map(async ({ id, stopTimeoutSeconds }) => {
    const graceMs = Math.max(0, stopTimeoutSeconds ?? 10) * 1_000;
    await engine.stop(id, { boundMs: graceMs + quiesce.stopMarginMs });
    return id;
  });
  return await Promise.all(stops);
}

async function startAgain({ ports: { engine }, settings: { quiesce }, warn }: Transaction, id: string): Promise<void> {
  try {
    await engine.start(id, { boundMs: quiesce.startMs });
  } catch (error) {
    warn(`what was stopped could not be started again: ${asFailure(error).message}`);
  }
}

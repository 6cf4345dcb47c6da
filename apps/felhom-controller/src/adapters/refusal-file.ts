import { join } from 'node:path';
import { stateFile } from '@felhom/durable/state-file.ts';
import { type AgentApi, AgentError } from '@felhom/guest-api/agent-api.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import { z } from 'zod';

const schema = z.object({
  reason: z.enum(['restored_copy', 'identity_conflict', 'refused', 'identity']),
  message: z.string(),
  hint: z.string(),
  at: z.string(),
});

/** The agent's last word when it was a refusal of this guest as such: what `status --check` shows without asking. */
export type Refusal = z.output<typeof schema>;

function refusalFile(stateDir: string) {
  return stateFile<Refusal>({ path: join(stateDir, 'identity', 'refused.json'), version: 1, schema });
}

/** The refusal that stands, or null. */
export async function readRefusal(stateDir: string): Promise<Refusal | null> {
  const read = await refusalFile(stateDir).read();
  return read.kind === 'present' ? read.value : null;
}

/** `api`, which keeps a refusal of this guest on disk and removes it at the first call that is let in. */
export function rememberingRefusals(api: AgentApi, { stateDir, clock }: { stateDir: string; clock: Clock }): AgentApi {
  const file = refusalFile(stateDir);
  let known: Refusal['reason'] | null | undefined;
  const settle = async (error: AgentError | null): Promise<void> => {
    const reason = refusalReason(error);
    if (reason === known || (reason === null && error !== null)) return;
    try {
      if (error !== null && reason !== null) {
        await file.write({
          reason,
          message: error.message,
          hint: error.hint,
          at: new Date(clock.nowMs()).toISOString(),
        });
      } else if ((await file.read()).kind !== 'absent') await file.remove();
      known = reason;
    } catch {
      // A full or read-only disk: the refusal was printed, and the next call tries to keep it again.
    }
  };
  const watched =
    <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      try {
        const answer = await call(...args);
        await settle(null);
        return answer;
      } catch (error) {
        if (error instanceof AgentError) await settle(error);
        throw error;
      }
    };
  return {
    due: watched((options) => api.due(options)),
    start: watched((body, options) => api.start(body, options)),
    quiesced: watched((jobId, options) => api.quiesced(jobId, options)),
    resumed: watched((jobId, options) => api.resumed(jobId, options)),
    cancel: watched((jobId, options) => api.cancel(jobId, options)),
    status: watched((jobId, options) => api.status(jobId, options)),
    report: watched((jobId, body, options) => api.report(jobId, body, options)),
    restoreTest: watched((options) => api.restoreTest(options)),
    close: async () => await api.close(),
  };
}

/** Only what is said of the guest as such: a refused storage or mode says nothing about who we are. */
function refusalReason(error: AgentError | null): Refusal['reason'] | null {
  if (error === null) return null;
  const { kind, code } = error;
  if (kind === 'restored_copy' || kind === 'identity_conflict' || kind === 'identity') return kind;
  return code === 'unauthorized' || code === 'unknown_guest' ? 'refused' : null;
}

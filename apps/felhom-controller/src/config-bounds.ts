import { formatDuration } from '@felhom/cli/quantity.ts';
import { durationMs } from '@felhom/cli/quantity-schema.ts';
import { z } from 'zod';
import { defaultBounds, type QuiesceBounds } from './quiesce/bounds.ts';

/** A bound with the default of the quiesce core, as a duration in the file. */
const bound = (defaultMs: number) => durationMs(formatDuration(defaultMs));

/** The section `bounds`: everything that limits a run in time. Milliseconds once parsed. */
export const boundsSchema = z.strictObject({
  max_quiesce: bound(defaultBounds.maxQuiesceMs).describe('how long apps may be down for one run, whatever hangs'),
  max_wait: bound(defaultBounds.maxWaitMs).describe("how long a run waits for the host's gate, with nothing down"),
  stop_margin: bound(defaultBounds.stopMarginMs).describe(
    "above a container's own grace until its stop counts as hung",
  ),
  sync: bound(defaultBounds.syncMs).describe('sync -f of the data before the stop'),
  command: bound(defaultBounds.commandMs).describe('one before_stop or after_start command'),
  start: bound(defaultBounds.startMs).describe('one start request'),
  dependency_health: bound(defaultBounds.dependencyHealthMs).describe(
    "waiting for a dependency's health before starting anyway",
  ),
  pay_retry: bound(defaultBounds.payRetryMs).describe('how long one process retries containers that do not start'),
  pay_backoff: bound(defaultBounds.payBackoffMs).describe('the first delay between such retries'),
  pay_backoff_limit: bound(defaultBounds.payBackoffLimitMs).describe('the longest delay between such retries'),
  no_task: bound(defaultBounds.noTaskMs).describe(
    'after quiesced was accepted: no task by then, and the apps come back',
  ),
  hung_holder: bound(defaultBounds.hungHolderMs).describe('past the deadline until a run counts as hung'),
  poll: bound(defaultBounds.pollSeconds * 1_000).describe(
    "one long poll of the job; under a third of the gate's lease",
  ),
  poll_retry: bound(defaultBounds.pollRetryMs).describe('between polls that failed'),
  agent_silence: bound(defaultBounds.agentSilenceMs).describe(
    'how long an agent may be silent, with nothing down, until a run gives up',
  ),
  last_poll: bound(defaultBounds.lastPollMs).describe('the one more poll that a passed deadline is granted'),
  health_margin: bound(defaultBounds.healthMarginMs).describe(
    'how long a service may take to be healthy beyond its start period',
  ),
  max_follow: bound(defaultBounds.maxFollowMs).describe("how long the host's job is followed after the apps are back"),
  proof_look: bound(defaultBounds.proofLookMs).describe('the quick look at what runs when the proof is seen'),
  lock_patience: bound(defaultBounds.lockPatienceMs).describe(
    'how long a run waits for a recovery or a pass of reconcile to end',
  ),
  agent_connect: bound(5_000).describe('to a connection to the agent, TLS included'),
  agent_answer: bound(15_000).describe("to the end of the agent's answer, above what a long poll waits"),
  watch_poll: bound(50_000).describe('one long poll of backup watch, 60 s at most'),
  watch_backoff: bound(2_000).describe('the first pause of backup watch after a failure'),
  watch_backoff_limit: bound(30_000).describe('the longest pause of backup watch after failures'),
});

export type Bounds = z.output<typeof boundsSchema>;

/** The bounds of the quiesce core. */
export function quiesceBounds(from: Bounds): QuiesceBounds {
  return {
    maxQuiesceMs: from.max_quiesce,
    maxWaitMs: from.max_wait,
    stopMarginMs: from.stop_margin,
    syncMs: from.sync,
    commandMs: from.command,
    startMs: from.start,
    dependencyHealthMs: from.dependency_health,
    payRetryMs: from.pay_retry,
    payBackoffMs: from.pay_backoff,
    payBackoffLimitMs: from.pay_backoff_limit,
    noTaskMs: from.no_task,
    hungHolderMs: from.hung_holder,
    pollSeconds: Math.max(1, Math.round(from.poll / 1_000)),
    pollRetryMs: from.poll_retry,
    agentSilenceMs: from.agent_silence,
    lastPollMs: from.last_poll,
    healthMarginMs: from.health_margin,
    maxFollowMs: from.max_follow,
    proofLookMs: from.proof_look,
    lockPatienceMs: from.lock_patience,
  };
}

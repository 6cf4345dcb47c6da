/** Every bound of the quiesce cycle. Configuration overrides each one; these are the defaults of docs/architecture.md. */
export interface QuiesceBounds {
  /** How long apps may be down for one run, whatever hangs in the guest or on the way to the host. */
  maxQuiesceMs: number;
  /** How long a run waits for the host's gate, with nothing down: queue, node lock, first copy of a suspend backup. */
  maxWaitMs: number;
  /** Above a container's own grace until its stop counts as hung. */
  stopMarginMs: number;
  /** `sync -f` before the stop. */
  syncMs: number;
  /** One `before_stop` or `after_start` command. */
  commandMs: number;
  /** One start request. */
  startMs: number;
  /** How long a start waits for a dependency's health before starting anyway. */
  dependencyHealthMs: number;
  /** How long unpaid debts are retried by one process, with backoff between the two delays below. */
  payRetryMs: number;
  payBackoffMs: number;
  payBackoffLimitMs: number;
  /** After `quiesced` was accepted: no task on the host by then, and the apps come back. */
  noTaskMs: number;
  /** Past the deadline until a holder counts as hung. */
  hungHolderMs: number;
  /** One long poll: under a third of the gate's lease of 15 s. */
  pollSeconds: number;
  /** Between polls that failed. */
  pollRetryMs: number;
  /** How long an agent may be silent while nothing is down until a run gives up. */
  agentSilenceMs: number;
  /** The one more poll that a passed deadline is granted. */
  lastPollMs: number;
  /** How long a service may take to be healthy again beyond its own start period. */
  healthMarginMs: number;
  /** How long the host's job is followed after the apps are back. */
  maxFollowMs: number;
  /** The quick look at what runs when the proof is seen. */
  proofLookMs: number;
  /** How long a run waits for a recovery or a pass of reconcile that has the run lock: most last moments. */
  lockPatienceMs: number;
}

export const defaultBounds: QuiesceBounds = {
  maxQuiesceMs: 600_000,
  maxWaitMs: 4 * 3_600_000,
  stopMarginMs: 15_000,
  syncMs: 10_000,
  commandMs: 60_000,
  startMs: 60_000,
  dependencyHealthMs: 120_000,
  payRetryMs: 300_000,
  payBackoffMs: 250,
  payBackoffLimitMs: 15_000,
  noTaskMs: 30_000,
  hungHolderMs: 60_000,
  pollSeconds: 4,
  pollRetryMs: 500,
  agentSilenceMs: 600_000,
  lastPollMs: 2_000,
  healthMarginMs: 5_000,
  maxFollowMs: 24 * 3_600_000,
  proofLookMs: 1_000,
  lockPatienceMs: 10_000,
};

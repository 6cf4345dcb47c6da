import { expect, it } from 'vitest';
import { boundsSchema } from './bounds.ts';

it('has the defaults that docs/architecture.md states', () => {
  const second = 1_000;
  const minute = 60 * second;
  const hour = 60 * minute;
  expect(boundsSchema.parse({})).toEqual({
    watcher: 90 * second,
    claim: 15 * second,
    lease: 15 * second,
    hold_max: 2 * minute,
    resume_hold: 10 * second,
    hook_match: 5 * second,
    lost_start: 35 * second,
    operator_claim: 2 * minute,
    max_freeze: minute,
    min_interval: hour,
    backoff: hour,
    pve_call: 30 * second,
    pve_busy: 10 * second,
    lockwait: 3 * hour,
    proof_poll: 15,
    task_poll: second,
    owed_guest: 10 * minute,
    owed_retry: 5 * second,
    storage_cache: 30 * second,
    guest_cache: 10 * second,
    stuck: hour,
    notes_retry: 30 * second,
    lock_timeout: 2 * minute,
    lock_poll: second,
    shutdown: 3 * minute,
    task_wait: 10 * minute,
    recovery_gate: 30 * minute,
    reconcile_backoff: 10 * minute,
    stop_grace: 20 * second,
    pass: 20 * minute,
    guest_files: 30 * second,
    full_read: 10 * minute,
  });
});

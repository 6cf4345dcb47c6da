import { durationMs } from '@felhom/cli/quantity-schema.ts';
import { z } from 'zod';

/**
 * Every bound of the backup job, each with the default that docs/architecture.md states. Tests lower
 * them; one test asserts the defaults.
 */
export const boundsSchema = z
  .strictObject({
    watcher: durationMs('90s').describe('a watcher is calling when an authenticated request came within this long'),
    claim: durationMs('15s').describe('a gate nobody claims closes after this long'),
    lease: durationMs('15s').describe('a claimed gate closes this long after the last status poll'),
    hold_max: durationMs('2m').describe('the longest that the hook makes vzdump wait for the apps'),
    resume_hold: durationMs('10s').describe(
      'the longest that the hook keeps vzdump from writing the archive while the apps start again; 0s: not at all',
    ),
    hook_match: durationMs('5s').describe('how long a hook call waits for the answer of our own POST'),
    lost_start: durationMs('35s').describe('"not started" is concluded no sooner than this after the intent'),
    operator_claim: durationMs('2m').describe(
      "an operator's request that no controller claims goes on without one after this long",
    ),
    max_freeze: durationMs('60s').describe('the longest freeze with a silent controller'),
    min_interval: durationMs('1h').describe('between two backups that a guest asked for'),
    backoff: durationMs('1h').describe('after a failure; doubles up to `every`'),
    pve_call: durationMs('30s').describe('one call to PVE'),
    pve_busy: durationMs('10s').describe(
      'how much longer a write may take: PVE waits so long for a busy configuration',
    ),
    lockwait: durationMs('3h').describe(
      "how long our own job may wait for vzdump's node lock in the hook gate, apps running",
    ),
    proof_poll: durationMs('15ms').describe('between two looks at the task log while apps are down'),
    task_poll: durationMs('1s').describe('between two looks at a task while nobody is down for it'),
    owed_guest: durationMs('10m').describe('how long a guest that vzdump left down is tried to be started'),
    owed_retry: durationMs('5s').describe('between two tries to start such a guest'),
    storage_cache: durationMs('30s').describe('how old a storage listing may be when "due" is judged'),
    guest_cache: durationMs('10s').describe('how old the list of guests may be'),
    stuck: durationMs('1h').describe('a guest that PVE has locked for longer is called stuck'),
    notes_retry: durationMs('30s').describe('between two tries to write the notes of a backup'),
    lock_timeout: durationMs('2m').describe(
      'how long `reconcile --once` waits for locks, backups and tasks of others; the loop looks again in its next pass',
    ),
    guest_files: durationMs('30s').describe(
      'for reading the files of all guests: the filesystem of a cluster may hang',
    ),
    full_read: durationMs('10m').describe(
      'no configuration goes unread for longer, whatever the version list of the cluster says',
    ),
    lock_poll: durationMs('1s').describe('between two looks at a guest that is waited for'),
    shutdown: durationMs('3m').describe('how long a guest may take to shut down before it is ended hard'),
    task_wait: durationMs('10m').describe('how long a pass follows one task; after that the next pass looks at it'),
    recovery_gate: durationMs('30m').describe(
      'how long the loop tries to resolve what an earlier run left open before its first pass',
    ),
    reconcile_backoff: durationMs('10m').describe('the longest pause after passes, or tries at a guest, that failed'),
    stop_grace: durationMs('20s').describe(
      'how long a pass that was asked to end goes on; then nothing more is begun, and its tasks are left to the next start',
    ),
    pass: durationMs('20m').describe('a pass that takes longer is called hung: the watchdog hears nothing more'),
  })
  .prefault({});
export type Bounds = z.output<typeof boundsSchema>;

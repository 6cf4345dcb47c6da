import { z } from 'zod';

/**
 * The marker: what this guest owes its apps, in the present tense. It is written, durably, before
 * the first container is stopped and erased only after every container in it was seen to run again.
 *
 * Unknown keys are dropped on reading, so that a marker of a newer version that kept these fields
 * can still be settled.
 */
export const markerVersion = 1;

const text = z.string().max(4096);

export const debt = z.object({
  id: text,
  name: text,
  project: text.nullable(),
  service: text.nullable(),
  number: z.number().int().nullable(),
  /** The engine's own string: a different one later proves a new start. */
  started_at: text,
  /** When it was looked at: `restarting` is a crash loop, which owes a start and not a run. */
  was: z.enum(['running', 'restarting']),
  was_healthy: z.boolean(),
  restart_policy: z.enum(['no', 'always', 'unless-stopped', 'on-failure']),
  stop_grace_ms: z.number().nonnegative(),
  health_limit_ms: z.number().nonnegative(),
  dependencies: z.array(
    z.object({
      service: text,
      condition: z.enum(['service_started', 'service_healthy', 'service_completed_successfully']),
    }),
  ),
  /** Ids of containers whose namespaces this one lives in. */
  namespaces_of: z.array(text),
  compose_files: z.array(text),
  env_files: z.array(text),
  working_dir: text.nullable(),
  /** The run that stopped it: differs from the marker's own for a debt taken over from an earlier run. */
  run_id: text,
});
export type Debt = z.infer<typeof debt>;

/** A command owed to a stack after its containers run again, such as the end of a maintenance mode. */
export const owedCommand = z.object({ stack: text, service: text, command: text });
export type OwedCommand = z.infer<typeof owedCommand>;

export const marker = z.object({
  run_id: text,
  job_id: text.nullable(),
  boot_id: text,
  engine_id: text,
  /** Wall clock, milliseconds. */
  written_at_ms: z.number(),
  deadline_at_ms: z.number(),
  debts: z.array(debt),
  after_start: z.array(owedCommand),
});
export type Marker = z.infer<typeof marker>;

/** The name under which a debt is shown and forgiven: its project, or a plain container's own name. */
export function stackOf(container: { project: string | null; name: string }): string {
  return container.project ?? container.name;
}

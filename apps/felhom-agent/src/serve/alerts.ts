import type { StateFile } from '@felhom/durable/state-file.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import { z } from 'zod';
import type { Alert, Alerts } from '../backup/ports.ts';

export const alertsSchema = z.object({
  alerts: z.array(
    z.object({
      key: z.string(),
      vmid: z.number().int().nullable(),
      message: z.string(),
      hint: z.string(),
      at: z.string(),
    }),
  ),
});
export type AlertsFile = z.infer<typeof alertsSchema>;
export const alertsVersion = 1;

/**
 * What a person has to look at. In memory at once, on disk as soon as the disk takes it; a file that
 * cannot be read is begun anew, because whatever is still wrong is raised again.
 */
export async function openAlerts(
  file: StateFile<AlertsFile>,
  clock: Clock,
  log: (message: string) => void,
): Promise<Alerts> {
  const read = await file.read().catch(() => ({ kind: 'absent' as const }));
  const alerts = new Map<string, Alert>(
    read.kind === 'present' ? read.value.alerts.map((alert) => [alert.key, alert]) : [],
  );
  let writing: Promise<void> = Promise.resolve();
  const write = (): void => {
    writing = writing
      .then(async () => await file.write({ alerts: [...alerts.values()] }))
      .catch((error: unknown) =>
        log(`the alerts are not on disk: ${error instanceof Error ? error.message : String(error)}`),
      );
  };
  return {
    raise: (alert) => {
      const before = alerts.get(alert.key);
      if (before?.message === alert.message && before.hint === alert.hint) return;
      alerts.set(alert.key, { ...alert, at: new Date(clock.nowMs()).toISOString() });
      log(`ALERT ${alert.message}. ${alert.hint}`);
      write();
    },
    clear: (key) => {
      if (alerts.delete(key)) write();
    },
    list: () => [...alerts.values()],
  };
}

import { join } from 'node:path';
import { type HistoryStore, historyStore } from '@felhom/durable/history-store.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Alert, type AlertPort, alert, alertVersion } from './alert.ts';

const keptAlerts = 500;

export interface AlertStore extends AlertPort {
  /** Those that nobody has acknowledged, newest first. */
  open(): Promise<Alert[]>;
  /** Newest first, acknowledged ones too. What cannot be read is left out. */
  list(): Promise<Alert[]>;
  /** By its id, or its beginning. @throws Failure `not_found`, `usage` (several). */
  acknowledge(id: string, at: string): Promise<Alert>;
}

/** One file an alert, in `alerts/` of the state folder. */
export function alertStore({ stateDir }: { stateDir: string }): AlertStore {
  const store: HistoryStore<Alert> = historyStore({
    folder: alertsFolder(stateDir),
    keep: keptAlerts,
    version: alertVersion,
    schema: alert,
  });
  const list = async (): Promise<Alert[]> =>
    (await store.list()).flatMap(({ read }) => (read.kind === 'present' ? [read.value] : []));
  return {
    list,
    open: async () => (await list()).filter(({ acked_at }) => acked_at === null),
    raise: async (raised) => {
      const before = (await list()).find(({ id }) => id === raised.id);
      await store.save(raised.id, { ...raised, acked_at: before?.acked_at ?? null });
    },
    acknowledge: async (id, at) => {
      const { read } = await store.find(id).catch((error: unknown) => {
        throw error instanceof Failure && error.code === 'not_found' ? unknown(id) : error;
      });
      if (read.kind !== 'present') throw unreadable(id);
      const acked = { ...read.value, acked_at: read.value.acked_at ?? at };
      await store.save(acked.id, acked);
      return acked;
    },
  };
}

export function alertsFolder(stateDir: string): string {
  return join(stateDir, 'alerts');
}

function unknown(id: string): Failure {
  return new Failure('not_found', {
    message: `there is no alert ${JSON.stringify(id)}; nothing was changed`,
    hint: 'felhom-controller alert list --all shows every one.',
  });
}

function unreadable(id: string): Failure {
  return new Failure('state_unreadable', {
    message: `the alert ${id} cannot be read. Nothing was changed.`,
    hint: 'Look at its file in the folder alerts of the state folder, and remove it if it is damaged.',
  });
}

import type { Hypervisor } from 'felhom-agent/backup/ports.ts';
import type { Doom } from './doom.ts';

/** Every call to the node as an effect of this life. */
export function doomed(pve: Hypervisor, life: Doom): Hypervisor {
  const through = <A extends unknown[], R>(name: string, call: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => await life.effect(name, async () => await call(...args));
  };
  return {
    node: pve.node,
    guests: through('pve.guests', pve.guests),
    guest: through('pve.guest', pve.guest),
    whereIs: through('pve.whereIs', pve.whereIs),
    volumes: through('pve.volumes', pve.volumes),
    startBackup: through('pve.startBackup', pve.startBackup),
    findStarted: through('pve.findStarted', pve.findStarted),
    tasks: through('pve.tasks', pve.tasks),
    task: through('pve.task', pve.task),
    taskLog: through('pve.taskLog', pve.taskLog),
    stopTask: through('pve.stopTask', pve.stopTask),
    startGuest: through('pve.startGuest', pve.startGuest),
    storage: through('pve.storage', pve.storage),
    backups: through('pve.backups', pve.backups),
    writeNotes: through('pve.writeNotes', pve.writeNotes),
    logReader: pve.logReader,
  };
}

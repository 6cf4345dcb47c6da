import type { Hypervisor } from 'felhom-agent/backup/ports.ts';
import type { Doom } from './doom.ts';

/** Every call to the node as an effect of this life. What changes something there is noted as it sets out. */
export function doomed(pve: Hypervisor, life: Doom, note: (what: string) => void): Hypervisor {
  const looks = <A extends unknown[], R>(name: string, call: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => await life.effect(name, async () => await call(...args));
  };
  const acts = <A extends unknown[], R>(name: string, call: (...args: A) => Promise<R>) => {
    return looks(name, async (...args: A): Promise<R> => {
      note(`${name} ${JSON.stringify(args)}`);
      return await call(...args);
    });
  };
  return {
    node: pve.node,
    guests: looks('pve.guests', pve.guests),
    guest: looks('pve.guest', pve.guest),
    whereIs: looks('pve.whereIs', pve.whereIs),
    volumes: looks('pve.volumes', pve.volumes),
    startBackup: acts('pve.startBackup', pve.startBackup),
    findStarted: looks('pve.findStarted', pve.findStarted),
    tasks: looks('pve.tasks', pve.tasks),
    task: looks('pve.task', pve.task),
    taskLog: looks('pve.taskLog', pve.taskLog),
    stopTask: acts('pve.stopTask', pve.stopTask),
    startGuest: acts('pve.startGuest', pve.startGuest),
    storage: looks('pve.storage', pve.storage),
    backups: looks('pve.backups', pve.backups),
    writeNotes: acts('pve.writeNotes', pve.writeNotes),
    logReader: pve.logReader,
  };
}

import type { LabEngine } from './engine.ts';
import { answers } from './engine-look.ts';
import { must, type RunEnd, run } from './process.ts';

/**
 * The engine that is there, for a lab without root. The controller of the lab looks at every container of its engine,
 * so this one must have no others: they would be stopped for a backup.
 */
export function borrowedEngine(folder: string): LabEngine {
  const host = process.env['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock';
  const env = { ...process.env, DOCKER_HOST: host };
  const docker = async (...args: string[]): Promise<string> => await must('docker', args, { env });
  const tryDocker = async (...args: string[]): Promise<RunEnd> => await run('docker', args, { env });
  const socket = host.replace(/^unix:\/\//, '');
  const notOurs = async (): Promise<void> =>
    await Promise.reject(new Error("this engine is not the lab's own: it is not ended by a lab"));

  return {
    socket,
    host,
    start: async () => {
      const others = (await docker('ps', '--format', '{{.Names}}')).split('\n').filter((name) => name !== '');
      if (others.length === 0) return;
      throw new Error(
        `containers run on this engine that the demo would stop for its backup (${others.slice(0, 5).join(', ')}): ` +
          'run it as root, then it starts an engine of its own',
      );
    },
    stop: notOurs,
    kill: notOurs,
    powerCut: notOurs,
    isUp: async () => await answers(socket),
    docker,
    tryDocker,
    destroy: async () => {
      for (const project of await projectsBelow(folder, docker)) {
        await tryDocker('compose', '--project-name', project, 'down', '--volumes', '--timeout', '2');
      }
    },
  };
}

/** The Compose projects whose files lie below `folder`. */
async function projectsBelow(folder: string, docker: LabEngine['docker']): Promise<string[]> {
  const format = '{{.Label "com.docker.compose.project"}} {{.Label "com.docker.compose.project.working_dir"}}';
  const listed = (await docker('ps', '--all', '--format', format)).split('\n');
  const names = listed.map((line) => line.split(' ')).filter(([, where]) => where?.startsWith(`${folder}/`) === true);
  return [...new Set(names.map(([name]) => name ?? ''))];
}

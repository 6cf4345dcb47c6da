import { type ChildProcess, fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { markOf, type ProcessMark } from '../state/processes.ts';

// Invariants:
// - A worker takes one job and is never used again: its pid names one task.
// - Spare workers end with the simulator; one that has a job does not.
// - Spares are refilled only while no job runs: their start must not disturb what is being measured.

/** Processes that wait for a vzdump job, so that a POST answers at once with the pid that will do it. */
export interface WorkerPool {
  /** A worker that is ready for a job. */
  take(): Promise<ReadyWorker>;
  close(): void;
}

export interface ReadyWorker {
  mark: ProcessMark;
  /** Hands over the job; afterwards the worker is on its own. */
  run(job: object): void;
}

/** The worker from its sources, or a built one where somebody has made it: that starts in a tenth of the time. */
function workerProgram(): { file: string; execArgv: string[] } {
  const built = process.env['FELHOM_PVE_SIM_BUILT'];
  if (built !== undefined) return { file: join(built, 'worker.js'), execArgv: [] };
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const file = fileURLToPath(new URL('../vzdump/worker-main.ts', import.meta.url));
  return { file, execArgv: ['--import', loader] };
}

export function openWorkerPool(spares: number): WorkerPool {
  const program = workerProgram();
  const ready: Promise<ChildProcess>[] = [];
  const spareChildren = new Set<ChildProcess>();
  let busy = 0;
  let closed = false;
  const refill = (): void => {
    if (closed || busy > 0) return;
    for (let missing = spares - ready.length; missing > 0; missing -= 1) {
      const spare = spawnSpare();
      spare.catch(() => undefined); // a spare that ends unused is no error: `take` passes it over
      ready.push(spare);
    }
  };
  /** The first spare that lives, else a new one. */
  const living = async (): Promise<{ child: ChildProcess; mark: ProcessMark }> => {
    for (let spare = ready.shift(); spare !== undefined; spare = ready.shift()) {
      const child = await spare.catch(() => null);
      const mark = child?.pid === undefined ? null : markOf(child.pid);
      if (child !== null && mark !== null) return { child, mark };
    }
    const child = await spawnSpare();
    const mark = child.pid === undefined ? null : markOf(child.pid);
    if (mark === null) throw new Error('the worker ended before it got its job');
    return { child, mark };
  };
  refill();
  return {
    take: async () => {
      const { child, mark } = await living();
      spareChildren.delete(child);
      busy += 1;
      child.once('exit', () => {
        busy -= 1;
        refill();
      });
      return {
        mark,
        run: (job) => {
          child.send(job);
          child.unref();
        },
      };
    },
    close: () => {
      closed = true;
      for (const child of spareChildren) child.kill('SIGKILL');
    },
  };

  function spawnSpare(): Promise<ChildProcess> {
    const child = fork(program.file, [], {
      execArgv: program.execArgv,
      // A group of its own: ending the task ends what it started, and a Ctrl-C on our terminal does not reach it.
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    spareChildren.add(child);
    return new Promise((resolve, reject) => {
      child.once('message', () => resolve(child));
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`a worker ended at once with ${code}`)));
    });
  }
}

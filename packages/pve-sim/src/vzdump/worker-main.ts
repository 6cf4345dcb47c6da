import { vzdumpJob } from './job.ts';
import { runJob } from './run-job.ts';
import { openWorker } from './worker.ts';

// The process of one vzdump task. It waits, spare, for a job; takes exactly one; lets go of the
// simulator, whose end it survives; runs the job and exits. Its pid is the one in the task's UPID,
// and the hook's parent.

const abort = new AbortController();
for (const name of ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP'] as const) process.on(name, () => abort.abort());

const nobodyLeft = (): void => process.exit(0);
process.on('disconnect', nobodyLeft);

process.once('message', (message: unknown) => {
  process.off('disconnect', nobodyLeft);
  process.disconnect();
  const worker = openWorker(vzdumpJob.parse(message), abort.signal);
  void runJob(worker).then(() => process.exit(0));
});
process.send?.('ready');

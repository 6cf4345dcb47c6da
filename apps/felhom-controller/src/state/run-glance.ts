import { namesIn, textOf } from './quick-files.ts';
import { field, parseJson, word } from './quick-json.ts';

/** What `status` tells of a run. Read without the schemas of the history, which cost more than the reading. */
export interface RunGlance {
  run_id: string;
  started_at: string;
  /** Null: it has not ended. */
  outcome: string | null;
  grade: string | null;
  volid: string | null;
  message: string | null;
}

/** The newest runs kept in the state folder, newest first: ids begin with the time. What cannot be read is left out. */
export function glanceAtRuns(stateDir: string, limit: number): RunGlance[] {
  const folder = `${stateDir}/history`;
  const newest = namesIn(folder)
    .filter((name) => /^[A-Za-z0-9_-]{1,64}\.json$/.test(name))
    .toSorted()
    .toReversed()
    .slice(0, limit);
  return newest.flatMap((name) => {
    const run = glance(textOf(`${folder}/${name}`));
    return run === null ? [] : [run];
  });
}

function glance(text: string | undefined): RunGlance | null {
  const value = field(parseJson(text), 'value');
  const run = field(value, 'run');
  const result = field(value, 'result');
  const runId = word(field(run, 'runId'));
  const startedAtMs = field(run, 'startedAtMs');
  if (runId === null || typeof startedAtMs !== 'number') return null;
  return {
    run_id: runId,
    started_at: new Date(startedAtMs).toISOString(),
    outcome: word(field(result, 'outcome')),
    grade: word(field(result, 'grade')),
    volid: word(field(result, 'volid')),
    message: word(field(field(result, 'error'), 'message')) ?? word(field(result, 'grade_reason')),
  };
}

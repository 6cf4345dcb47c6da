import type { ServerResponse } from 'node:http';
import type { FaultName, FaultOf, Faults } from '../faults.ts';
import type { Answer } from './answer.ts';

type WireFault = Extract<
  FaultName,
  | 'refuse'
  | 'unauthorized'
  | 'daemon_down'
  | 'hang'
  | 'slow'
  | 'reset'
  | 'drop_answer'
  | 'hang_answer'
  | 'html'
  | 'truncated_json'
  | 'lie'
>;

/** The order of that name, if one stands for this request. */
export function takeFor<N extends WireFault>(faults: Faults, name: N, method: string, path: string): FaultOf<N> | null {
  return faults.take(name, (fault: FaultOf<N>) => fits(fault, method, path));
}

function fits(
  fault: { method?: string | undefined; path?: string | undefined },
  method: string,
  path: string,
): boolean {
  return (
    (fault.method === undefined || fault.method.toUpperCase() === method) &&
    (fault.path === undefined || path.includes(fault.path))
  );
}

/** The answer with a lie in it: objects are merged into `data`, anything else replaces it. */
export function withLie(answer: Answer, data: unknown): Answer {
  const body = JSON.parse(answer.body ?? '{}') as { data?: unknown };
  const truth = body.data;
  const merges = isObject(truth) && isObject(data);
  return { ...answer, body: JSON.stringify({ ...body, data: merges ? { ...truth, ...data } : data }) };
}

export function htmlAnswer(status: number): Answer {
  return {
    status,
    reason: 'Bad Gateway',
    body: '<html>\n<head><title>502 Bad Gateway</title></head>\n<body><h1>502 Bad Gateway</h1></body>\n</html>\n',
    contentType: 'text/html',
  };
}

/** Half of the document, as a complete answer; or with the connection cut in the middle of the body. */
export function sendTruncated(response: ServerResponse, answer: Answer, abrupt: boolean): void {
  const whole = Buffer.from(answer.body ?? '', 'utf8');
  const half = whole.subarray(0, Math.ceil(whole.length / 2));
  response.writeHead(answer.status, answer.reason, {
    'Content-Type': answer.contentType ?? 'application/json;charset=UTF-8',
    'Content-Length': String(abrupt ? whole.length : half.length),
  });
  if (abrupt) response.write(half, () => response.socket?.destroy());
  else response.end(half);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

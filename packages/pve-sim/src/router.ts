import type { Caller } from './auth.ts';
import { ApiError, failure, parameterError } from './http/api-error.ts';
import { checkParams, type ParamSpecs, type Params } from './http/parameters.ts';
import type { RawParams } from './http/request-body.ts';
import type { SimNode } from './node.ts';

/** One call as a route sees it: parameters are checked, the node is ours. */
export interface Call {
  node: SimNode;
  caller: Caller;
  path: Readonly<Record<string, string>>;
  vmid: number;
  params: Params;
}

/** Data whose answer carries a `total`, as lists of tasks and log lines do. */
export class Counted {
  readonly data: unknown;
  readonly total: number;

  constructor(data: unknown, total: number) {
    this.data = data;
    this.total = total;
  }
}

export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** `/nodes/{node}/lxc/{vmid}/config`; `{volume}` takes the rest of the path. */
  path: string;
  /** True: served by the daemon behind the proxy, so answered 595 while that is down. */
  protected: boolean;
  params: ParamSpecs;
  /** What is checked before the parameters are. */
  allow?: (call: Omit<Call, 'params'>) => void;
  handle: (call: Call) => unknown;
}

export interface Matched {
  route: Route;
  path: Record<string, string>;
}

export function matchRoute(routes: readonly Route[], method: string, path: string): Matched {
  const segments = path.split('/').filter((segment) => segment !== '');
  for (const route of routes) {
    if (route.method !== method) continue;
    const found = matchPath(route.path.split('/').slice(1), segments);
    if (found !== null) return { route, path: found };
  }
  throw new ApiError(501, `Method '${method} ${path}' not implemented`, { lineEnd: false });
}

/** Runs a matched route: node, VMID and permission first, then parameters, then the method itself. */
export async function runRoute(matched: Matched, node: SimNode, caller: Caller, raw: RawParams): Promise<unknown> {
  const { route, path } = matched;
  checkNode(path['node'], node.name);
  const vmid = checkVmid(path['vmid']);
  const call = { node, caller, path, vmid };
  route.allow?.(call);
  return route.handle({ ...call, params: checkParams(route.params, raw, path) });
}

function matchPath(pattern: readonly string[], segments: readonly string[]): Record<string, string> | null {
  const path: Record<string, string> = {};
  for (const [index, part] of pattern.entries()) {
    if (part === '{volume}') {
      path['volume'] = segments.slice(index).map(decode).join('/');
      return segments.length > index ? path : null;
    }
    const segment = segments[index];
    if (segment === undefined) return null;
    if (part.startsWith('{')) path[part.slice(1, -1)] = decode(segment);
    else if (part !== decode(segment)) return null;
  }
  return segments.length === pattern.length ? path : null;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // a stray percent sign is taken as it is
  }
}

function checkNode(given: string | undefined, name: string): void {
  if (given === undefined || given === name || given === 'localhost') return;
  throw failure(
    `hostname lookup '${given}' failed - failed to get address info for: ${given}: Temporary failure in name resolution`,
  );
}

function checkVmid(given: string | undefined): number {
  if (given === undefined) return 0;
  const vmid = Number(given);
  if (!/^[1-9]\d{2,8}$/.test(given))
    throw parameterError({ vmid: 'invalid format - value does not look like a valid VM ID\n' });
  return vmid;
}

import type { FailureCode } from '@felhom/kernel/failure.ts';
import { ConnectFailed } from '@felhom/pinned-tls/connector.ts';
import { AgentError, type AgentErrorKind } from './agent-api.ts';
import { type ApiError, apiError } from './schema.ts';

/** What an agent answers: status, content type, and its body as text. */
export interface RawAnswer {
  url: string;
  status: number;
  contentType: string;
  text: string;
}

/** The error that a status of 400 and above means. */
export function errorOfAnswer(answer: RawAnswer): AgentError {
  const parsed = apiError.safeParse(parseJson(answer.text));
  if (!parsed.success) return errorWithoutWords(answer);
  const { error } = parsed.data;
  const { kind, code } = meaning(answer.status, error.code);
  return new AgentError(kind, {
    code,
    message: error.message,
    hint: error.hint,
    status: answer.status,
    agentCode: error.code,
    job: error.job,
    node: error.node,
  });
}

/** The kinds of the one status that has several. */
const conflicts: Record<string, { kind: AgentErrorKind; code: FailureCode }> = {
  restored_copy: { kind: 'restored_copy', code: 'restored_copy' },
  identity_conflict: { kind: 'identity_conflict', code: 'identity_conflict' },
  not_due: { kind: 'not_due', code: 'busy' },
};

/** Words of the agent's that keep their own exit code when it refuses or fails. */
const ownCodes = [
  'unknown_guest',
  'mode_downgrade',
  'policy_refused',
  'pve_unreachable',
  'pve_misbehaves',
  'below_policy',
] as const;

function meaning(status: number, word: ApiError['error']['code']): { kind: AgentErrorKind; code: FailureCode } {
  const own = ownCodes.find((code) => code === word);
  if (status === 401) return { kind: 'refused', code: 'unauthorized' };
  if (status === 403) return { kind: 'refused', code: own ?? 'refused' };
  if (status === 404) return { kind: 'not_found', code: 'not_found' };
  if (status === 409) return conflicts[word] ?? { kind: 'busy', code: 'busy' };
  if (status === 410) return { kind: 'gone', code: 'backup_failed' };
  if (status === 421) return { kind: 'moved', code: 'agent_unreachable' };
  if (status >= 500) return { kind: 'failed', code: own ?? 'operation_failed' };
  return { kind: 'rejected', code: own ?? 'refused' };
}

/** An error status whose body is not the agent's: only what the status alone proves is believed. */
function errorWithoutWords(answer: RawAnswer): AgentError {
  if (answer.status === 401 || answer.status === 403) {
    return new AgentError('refused', {
      code: answer.status === 401 ? 'unauthorized' : 'refused',
      message: `the agent at ${answer.url} refuses this guest's token (HTTP ${answer.status})`,
      hint: 'Check token_file, and on the host: felhom-agent guest show VMID',
      status: answer.status,
    });
  }
  return misbehaves(answer, `answered HTTP ${answer.status} without saying why`);
}

/** An answer that no agent gives. What it was asked may or may not have happened. */
export function misbehaves(answer: RawAnswer, how: string, cause?: unknown): AgentError {
  const isPage = /html/i.test(answer.contentType) || /^\s*</.test(answer.text);
  return new AgentError('misbehaves', {
    code: 'agent_misbehaves',
    message: `the agent at ${answer.url} ${isPage ? `answered with a web page (HTTP ${answer.status})` : how}`,
    hint: `Check that the url in the configuration is that of felhom-agent serve: ${answer.url}`,
    status: answer.status,
    cause,
  });
}

/** The error of a connection that gave no answer. */
export function errorOfConnection(url: string, cause: unknown): AgentError {
  const wrong = causes(cause).find((each) => each instanceof ConnectFailed && each.identity);
  if (wrong instanceof ConnectFailed) {
    return new AgentError('identity', {
      code: 'tls_identity',
      message: `${url} is not the agent we know: its certificate has the fingerprint ${wrong.shown ?? 'none'}`,
      hint: 'On the host, felhom-agent status prints the right fingerprint. If the agent was installed anew, write it to agents in the configuration; else somebody stands in between.',
      cause,
    });
  }
  return new AgentError('unreachable', {
    code: 'agent_unreachable',
    message: `no agent answers at ${url}: ${describeConnection(cause)}`,
    hint: 'Check on the host: systemctl status felhom-agent. Then the url in the configuration, and the firewall between guest and host.',
    cause,
  });
}

function causes(error: unknown): unknown[] {
  const found: unknown[] = [];
  for (let at = error; at !== undefined && found.length < 8; at = at instanceof Error ? at.cause : undefined)
    found.push(at);
  return found;
}

function describeConnection(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return error.message === '' ? code || error.name : error.message;
}

/** The value of a JSON text, or undefined when it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON: the caller says what that means, with the answer's own words at hand.
    return undefined;
  }
}

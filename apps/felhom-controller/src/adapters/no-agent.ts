import { type AgentApi, AgentError } from '@felhom/guest-api/agent-api.ts';

/** An agent for commands that must work without one: every call says that nobody could be asked, and why. */
export function noAgent(why: string): AgentApi {
  const refuse = async (): Promise<never> => {
    throw new AgentError('unreachable', {
      code: 'agent_unreachable',
      message: `no agent can be asked: ${why}`,
      hint: 'Name it under agents in the configuration, then run: felhom-controller config check',
    });
  };
  return {
    due: refuse,
    start: refuse,
    quiesced: refuse,
    resumed: refuse,
    cancel: refuse,
    status: refuse,
    report: refuse,
    restoreTest: refuse,
    close: async () => {},
  };
}

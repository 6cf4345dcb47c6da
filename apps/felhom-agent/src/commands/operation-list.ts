import { loadAgentConfig } from '../load-config.ts';
import { isOpen } from '../operations/record.ts';
import { operationRow, operationText } from '../operations/row.ts';
import { operationSigners } from '../operations/signers.ts';
import { becomeOwnerOf } from '../own-state.ts';
import type { CommandContext } from './context.ts';

/** `operation list`: the agent's id, who may sign, and every operation on record with its nonce and what became of it. */
export async function operationList(context: CommandContext): Promise<void> {
  const { config, file: configFile } = await loadAgentConfig(context.flags.config);
  const signers = await operationSigners(config, configFile);
  await becomeOwnerOf(config.state);
  const { openOperationStore } = await import('../operations/wiring.ts');
  const { agent_id: agent, high_water_ms: highWaterMs, operations } = await openOperationStore(config.state).read();
  const open = operations.filter(isOpen).length;
  context.reporter.result(
    {
      schema: 'felhom.operations/1',
      agent,
      clock_at_least: highWaterMs === 0 ? null : new Date(highWaterMs).toISOString(),
      signers: signers.map(({ keyId, name, revoked }) => ({ key_id: keyId, name, revoked })),
      operations: operations.map(operationRow),
    } as const,
    () =>
      [
        `agent   ${agent}`,
        ...(signers.length === 0 ? ['signers none: no operation is taken (agent.yaml, signers)'] : []),
        ...signers.map(({ keyId, name, revoked }) =>
          `signer  ${keyId} ${name}${revoked ? ' (revoked)' : ''}`.trimEnd(),
        ),
        ...operations.map(operationText),
        ...(operations.length === 0 ? ['no operation is on record'] : []),
        ...(open === 0 ? [] : [`${open} under way or not resolved yet`]),
      ].join('\n'),
  );
}

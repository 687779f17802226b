import { type ActionExplanation, BrinkError, type DecisionExplanation } from '@brink/protocol';
import type { Command } from 'commander';
import { actionChain, decisionChain } from '../chain.ts';
import { type Edge, usingApi, type VerbOptions, verb, withApi } from '../verb.ts';

/** `brink explain <id>`: an action's id has tildes, a decision's has none. */
export function addExplain(program: Command, edge: Edge): void {
  const command = withApi(program.command('explain'))
    .description('why: from the acknowledgement of an action back to the hash of the frame')
    .argument('<id>', 'of an action or of a decision');
  const example = [
    'brink explain cam-1.front.k3v9x2.1042.0.pets~cat-at-the-flap~0',
    'brink explain cam-1.front.k3v9x2.1042.0.pets',
  ];
  verb<VerbOptions>(edge, command, example, async (context, options, id = '') =>
    usingApi(context, options, async (api) => {
      // What `jq -r '.items[0].id'` says of an empty list.
      if (id === 'null' || id === '') {
        const where = '`brink decisions` lists what there is to explain, GET /v1/actions the actions';
        throw new BrinkError('E_NOT_FOUND', `"${id}" is no id: no action yet? ${where}`);
      }
      const path = encodeURIComponent(id);
      if (id.includes('~')) {
        const chain = await api.get<ActionExplanation>(`/v1/actions/${path}/explain`);
        context.show(chain, actionChain(chain, context.paint));
      } else {
        const chain = await api.get<DecisionExplanation>(`/v1/decisions/${path}/explain`);
        context.show(chain, decisionChain(chain, context.paint));
      }
      return 0;
    }),
  );
}

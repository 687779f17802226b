import { type Status, StatusSchema } from '@brink/protocol';
import { type App, problems } from '../app.ts';

export function addStatus(app: App, d: { status: () => Promise<Status> }): void {
  app.get(
    '/v1/status',
    {
      schema: {
        summary: 'What runs, whether anything was lost, what is wrong',
        tags: ['status'],
        response: { 200: StatusSchema, ...problems },
      },
    },
    () => d.status(),
  );
}

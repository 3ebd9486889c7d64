import { Elysia } from 'elysia';
import type { AppContext } from './app.ts';
export function pageRoutes(_context: AppContext) { return new Elysia({ name: 'pages' }); }

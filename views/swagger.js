// Starts Swagger UI on the page of the API, dark where the browser is.

const prefersDark = matchMedia('(prefers-color-scheme: dark)');
const followTheme = () =>
  document.documentElement.classList.toggle('dark-mode', prefersDark.matches);
followTheme();
prefersDark.addEventListener('change', followTheme);

SwaggerUIBundle({
  url: '/docs/json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  validatorUrl: null,
  tryItOutEnabled: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: 'BaseLayout',
});

// Starts the page. A file of its own, because the Content-Security-Policy allows no script inside the page.
import start from "./wethink-page.js";

start();

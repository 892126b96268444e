"""What JupyterLab gets: magics, the panel's extension, the server extension behind it."""

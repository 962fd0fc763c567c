from fastapi import FastAPI
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")

    page_size: int
    debug: bool
    origins: list[str]
    secret: str
    banner: str


settings = Settings()
app = FastAPI()


@app.get("/")
def index():
    return "hello 1"


@app.get("/settings")
def show():
    return settings
